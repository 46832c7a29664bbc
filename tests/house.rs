//! The house's own rules, read off the sources: imports point one way, the unsafe stands in `sys` with its reasons, and
//! time is an argument. See `src/lib.rs` for the map.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may know. A room is a folder or file right under `src`.
fn may_know(room: &str) -> &'static [&'static str] {
    match room {
        "time" | "array" | "conn" | "wire" | "dsp" => &[],
        "cycle" => &["array", "time"],
        "out" => &["time", "dsp"],
        "engine" => &["array", "time", "cycle", "wire", "dsp", "sound"],
        "sim" => &["array", "time", "cycle", "wire"],
        "sound" | "capture" | "stats" => &["array", "time", "cycle"],
        "sys" => &["array", "conn", "time", "cycle"],
        "report" => &["array", "time", "cycle", "engine"],
        "http" => &["array", "conn", "time", "cycle", "report", "out"],
        "cli" => &["array", "time", "engine", "http", "out", "sim", "wire"],
        "commands" => &[
            "array", "conn", "time", "cycle", "engine", "sim", "capture", "stats", "sys", "report", "http", "cli",
            "wire", "out",
        ],
        other => panic!("src/{other} has no place in the house: say in tests/house.rs what it may know"),
    }
}

/// One rule broken: where, and what.
type Breach = String;

/// Code without comments, and without the unit tests at a file's foot: those may use any room.
fn code_lines(text: &str) -> Vec<(usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
        .collect()
}

/// Words as an identifier sees them.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part)
    })
}

fn breaches(path: &str, text: &str) -> Vec<Breach> {
    let room = path.split('/').next().unwrap().trim_end_matches(".rs");
    if matches!(room, "lib" | "main") {
        return Vec::new();
    }
    let lines = code_lines(text);
    let mut found = Vec::new();
    let code: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let known: BTreeSet<&str> = may_know(room).iter().copied().chain([room, "MICS"]).collect();
        // `crate::{a::X, b}` names several rooms; `crate::a::X` one.
        let group = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
        let names: Vec<&str> = match group {
            Some(group) => group.split(',').map(str::trim).filter(|name| !name.is_empty()).collect(),
            None => vec![rest],
        };
        for name in names {
            let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            if !known.contains(name) {
                found.push(format!("src/{path}: {room} may not know {name}"));
            }
        }
    }
    for (number, line) in &lines {
        if has_word(line, "unsafe") {
            if room != "sys" {
                found.push(format!("src/{path}:{number}: unsafe outside sys"));
            }
            let reasons = text.lines().skip(number.saturating_sub(9)).take(9);
            if !reasons.clone().any(|line| line.contains("SAFETY:") || line.contains("# Safety")) {
                found.push(format!("src/{path}:{number}: unsafe without a SAFETY note"));
            }
        }
        let clocks = ["Instant::now", "SystemTime::now", "clock_gettime", "host::clocks", "host::mono"];
        if !matches!(room, "sys" | "commands") && clocks.iter().any(|clock| line.contains(clock)) {
            found.push(format!("src/{path}:{number}: a clock is read outside sys and commands"));
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_source_keeps_the_rules_of_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 10, "the sources were found");
    let all: Vec<Breach> = files
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            breaches(&name, &fs::read_to_string(file).expect("a source can be read"))
        })
        .collect();
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

#[test]
fn the_rules_notice_what_breaks_them() {
    let broken = [
        ("engine/align.rs", "use crate::http::Server;", "may not know http"),
        ("http/mod.rs", "use crate::{cycle::Cycle, engine::Engine};", "may not know engine"),
        ("sys/ring.rs", "fn f() { crate::engine::Engine::new() }", "may not know engine"),
        ("engine/clock.rs", "let x = unsafe { y() };", "unsafe outside sys"),
        ("sys/host.rs", "let x = unsafe { y() };", "without a SAFETY note"),
        ("sim/mod.rs", "let now = std::time::Instant::now();", "a clock is read"),
    ];
    for (path, text, want) in broken {
        let found = breaches(path, text);
        assert!(found.iter().any(|breach| breach.contains(want)), "{path}: {text}: {found:?}");
    }
    let kept =
        "use crate::MICS;\nuse crate::time::{Span};\n// unsafe is a word here\n#[cfg(test)]\nuse crate::sim::Sim;";
    assert_eq!(breaches("engine/align.rs", kept), Vec::<Breach>::new());
}
