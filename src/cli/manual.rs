//! Man pages and shell completions, from the command line's own definition: `micring manual DIR`, where it is built with the feature `manual`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;

/// Where they go.
#[derive(Args, Debug)]
pub struct ManualArgs {
    /// Folder that gets `man`, `bash`, `zsh` and `fish`.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// A page for the program and each of its subcommands, and a completion for each shell.
///
/// # Errors
/// The folder cannot be written.
pub fn write(mut command: Command, folder: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    for (shell, place) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let place = folder.join(place);
        fs::create_dir_all(&place)?;
        let file = clap_complete::generate_to(shell, &mut command, &name, &place)?;
        // As bash-completion looks for it.
        if shell == Shell::Bash {
            fs::rename(file, place.join(&name))?;
        }
    }
    let pages = folder.join("man");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(command, pages)
}
