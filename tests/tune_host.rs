//! `scripts/tune-host` on a tree of our own: it shows, applies, says what is there, and puts back exactly what was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const BEFORE: [(&str, &str); 8] = [
    ("sys/devices/system/cpu/online", "0-3"),
    ("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave"),
    ("sys/class/net/eth0/device/msi_irqs/40", "msix"),
    ("sys/class/net/eth0/device/msi_irqs/41", "msix"),
    ("proc/irq/40/smp_affinity_list", "0-3"),
    ("proc/irq/41/smp_affinity_list", "3"),
    ("proc/net/route", "Iface\tDestination\neth1\t000200C0\neth0\t00000000"),
    ("proc/sys/net/core/rmem_max", "212992"),
];

/// A host of files; gone when dropped.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Tree {
        let root = std::env::temp_dir().join(format!("micring-tune-{}-{name}", std::process::id()));
        for (path, text) in BEFORE {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), format!("{text}\n")).unwrap();
        }
        Tree(root)
    }

    fn files(&self) -> BTreeMap<&'static str, String> {
        let text = |path: &str| fs::read_to_string(self.0.join(path)).unwrap().trim().to_owned();
        BEFORE.map(|(path, _)| (path, text(path))).into()
    }

    fn tune(&self, args: &[&str]) -> (Option<i32>, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tune-host");
        let output = Command::new(script).arg("--root").arg(&self.0).args(args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn before() -> BTreeMap<&'static str, String> {
    BEFORE.map(|(path, text)| (path, text.to_owned())).into()
}

#[test]
fn by_default_it_only_shows() {
    let tree = Tree::new("show");
    let (code, said) = tree.tune(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the loop's core: 3; the others: 0,1,2; interface: eth0"), "{said}");
    assert_eq!(said.matches("would ").count(), 4, "{said}");
    assert_eq!(tree.files(), before());
}

#[test]
fn apply_changes_and_undo_puts_back() {
    let tree = Tree::new("apply");
    let (code, said) = tree.tune(&["--apply"]);
    assert_eq!(code, Some(0), "{said}");
    let mut want = before();
    want.insert("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "performance".into());
    want.insert("proc/irq/40/smp_affinity_list", "0,1,2".into());
    want.insert("proc/irq/41/smp_affinity_list", "0,1,2".into());
    want.insert("proc/sys/net/core/rmem_max", "2097152".into());
    assert_eq!(tree.files(), want);
    // Again, with another core: what was there first comes back all the same.
    assert_eq!(tree.tune(&["--apply", "--core", "2"]).0, Some(0));
    assert_eq!(tree.files()["proc/irq/41/smp_affinity_list"], "0,1,3");
    assert_eq!(tree.tune(&["--undo"]).0, Some(0));
    assert_eq!(tree.files(), before());
    assert_eq!(tree.tune(&["--undo"]), (Some(0), "nothing to undo\n".into()));
}

#[test]
fn what_does_not_exist_is_said() {
    let tree = Tree::new("wrong");
    assert_eq!(tree.tune(&["--core", "7"]), (Some(1), "tune-host: there is no core 7 (online: 0,1,2,3)\n".into()));
    assert_eq!(tree.tune(&["--core", "x"]).0, Some(2));
    assert_eq!(tree.tune(&["--aply"]).0, Some(2));
    assert_eq!(tree.files(), before());
}
