//! Removable disks that are really mounted: images on loop devices, in a mount namespace of their own, where
//! `/dev` has the names that udev gives. What only root may do, and only where the kernel has what it takes;
//! `src/lib/disks.rs` tests the same on what such a system says of itself.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "common/shell.rs"]
mod shell;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use shell::{Ran, Shell};

/// Makes a `/dev` of its own and waits until nobody is interested any more. With its last process the namespace goes, with
/// that its mounts, and with them the loop devices.
const HOLD: &str = r#"
set -e
mount -t tmpfs dev "$1"
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/loop-control "$1"
ln -s /proc/self/fd "$1/fd"
for n in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
do
	mknod "$1/loop$n" b 7 "$n"
done
mkdir -p "$1/disk/by-label" "$1/disk/by-uuid"
mount --move "$1" /dev
echo ready
exec cat
"#;
/// Mounts the image IMAGE at the folder DIR, with the links that udev makes; prints the disk's uuid.
const PLUG: &str = r#"
set -e
dev=$(losetup --find --show -- "$1")
rm -f /dev/disk/*/*
blkid -p -o udev "$dev" >names
sed -n 's/^ID_FS_LABEL_ENC=//p' names | while read -r name; do ln -s "../../${dev#/dev/}" "/dev/disk/by-label/$name"; done
sed -n 's/^ID_FS_UUID_ENC=//p' names | while read -r name; do ln -s "../../${dev#/dev/}" "/dev/disk/by-uuid/$name"; done
mount "$dev" "$2" || failed=1
# the device is let go of with the mount
losetup -d "$dev"
test -z "$failed"
sed -n 's/^ID_FS_UUID_ENC=//p' names
"#;
/// File systems, and how they are made: the kernel has some of them.
const KINDS: [&str; 4] = ["mkfs.ext4 -q -L", "mkfs.vfat -n", "mkfs.btrfs -q -L", "mkfs.xfs -q -L"];

/// A mount namespace.
struct Mounts<'s> {
    shell: &'s Shell,
    holder: Child,
}

impl<'s> Mounts<'s> {
    /// `None`, and a word about it, where no disk can be mounted.
    fn new(shell: &'s Shell) -> Option<Self> {
        std::fs::create_dir(shell.at("dev")).unwrap();
        let mut hold = shell.command(".", "unshare");
        hold.args(["--mount", "--propagation", "private", "sh", "-c", HOLD, "sh", "dev"]);
        let mut holder = hold.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mounts = Self { shell, holder };
        if line != "ready\n" {
            eprintln!("no namespace for mounts here (as root, on Linux): no disk is mounted");
            return None;
        }
        Some(mounts)
    }

    /// Runs a program where the disks are.
    #[track_caller]
    fn run(&self, cwd: &str, words: &[&str]) -> Ran {
        let id = self.holder.id().to_string();
        let cwd = self.shell.at(cwd).display().to_string();
        let enter = ["-t", &id, "-m", "--", "sh", "-c", r#"cd -- "$1" && shift && exec "$@""#, "sh", &cwd];
        self.shell.run(".", "nsenter", [&enter[..], words].concat(), "")
    }

    #[track_caller]
    fn ltr(&self, cwd: &str, args: &[&str]) -> Ran {
        self.run(cwd, &[&["ltr"][..], args].concat())
    }

    /// The uuid of the disk that is now mounted at `folder`; none where this kernel does not know its file system.
    fn plug(&self, folder: &str) -> Option<String> {
        std::fs::create_dir_all(self.shell.at(folder)).unwrap();
        let ran = self.run(".", &["sh", "-c", PLUG, "sh", "image", folder]);
        (ran.status == 0).then(|| ran.out.trim().to_owned())
    }

    fn unplug(&self, folder: &str) {
        self.run(".", &["sh", "-c", r#"umount "$1" && rm -f /dev/disk/*/*"#, "sh", folder]).ok();
    }
}

impl Drop for Mounts<'_> {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// A disk that is mounted here today and there tomorrow; false where this system cannot have it.
fn a_disk_that_travels(make: &str) -> bool {
    let s = Shell::new();
    let Some(mounts) = Mounts::new(&s) else { return false };
    if s.sh(".", &format!("truncate -s 400M image && {make} 'MY STICK' image >mkfs 2>&1")).status != 0 {
        return false;
    }
    let (here, there) = ("media/me/MY STICK", "mnt/it's elsewhere");
    let Some(uuid) = mounts.plug(here) else { return false };
    s.ltr(".", ["init", "space"]).ok();
    std::fs::create_dir(s.at("a")).unwrap();
    s.ltr(".", ["create", "space", "a", "a"]).ok();
    let (box_here, box_there) = (format!("{here}/box"), format!("{there}/box"));
    mounts.run(".", &["mkdir", &box_here]).ok();
    mounts.ltr(".", &["create", "./space", "stick", &box_here]).ok();
    let write = |folder: &str, name: &str| {
        mounts.run(folder, &["sh", "-c", r#"echo "$1" >"$1""#, "sh", name]).ok();
        mounts.ltr(folder, &["commit"]).ok();
    };
    s.ltr("a", ["set", "stick.urls", "label:MY STICK/box"]).ok();
    write(&box_here, "one");
    let step = format!("cp {}/one {}\n", s.at(&box_here).display(), s.at("a/one").display());
    assert_eq!(mounts.ltr("a", &["pull"]).ok(), format!("ltr: pull  stick\n{step}"));
    assert!(s.exists("a/one"));
    mounts.ltr("a", &["ping", "stick"]).ok();

    mounts.unplug(here);
    mounts.ltr("a", &["ping", "stick"]).fails(3, "");
    mounts.ltr("a", &["pull", "label:MY STICK/box"]).fails(3, "no such disk is mounted");
    assert_eq!(mounts.ltr("a", &["pull"]).fails(0, "no other box is in reach").out, "");

    assert_eq!(mounts.plug(there).as_ref(), Some(&uuid));
    // another mount of a part of it is not the disk
    mounts.run(".", &["sh", "-c", r#"mkdir part && mount --bind "$1" part"#, "sh", &box_there]).ok();
    write(&box_there, "two");
    assert!(mounts.ltr("a", &["pull"]).ok().contains("/mnt/"));
    write(&box_there, "three");
    // as `ls /dev/disk/by-label` has it
    mounts.ltr("a", &["pull", r"label:MY\x20STICK/box"]).ok();
    s.ltr("a", ["set", "stick.urls", &format!("uuid:{uuid}/box")]).ok();
    write(&box_there, "four");
    mounts.ltr("a", &["pull", "stick"]).ok();
    assert!(["two", "three", "four"].iter().all(|name| s.exists(format!("a/{name}"))));
    mounts.run(".", &["umount", "part"]).ok();
    mounts.unplug(there);
    true
}

#[test]
fn a_disk_is_found_by_its_label_and_by_its_uuid_wherever_it_is_mounted() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("not root: no disk can be mounted");
    }
    let known: Vec<&str> = KINDS.into_iter().filter(|make| a_disk_that_travels(make)).collect();
    if known.is_empty() {
        eprintln!("no disk could be mounted here: not tested");
    }
    eprintln!("mounted: {known:?}");
}
