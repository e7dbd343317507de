//! Removable disks by the names that they carry: `label:NAME/path` and `uuid:UUID/path` lead to a folder
//! wherever the disk is mounted today.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the system tells of its disks.
#[derive(Clone, Debug)]
pub struct Disks {
    /// `/dev/disk`, with the folders `by-label` and `by-uuid` of symlinks to devices.
    pub disk: PathBuf,
    /// `/proc/self/mountinfo`, see proc_pid_mountinfo(5).
    pub mountinfo: PathBuf,
}

impl Default for Disks {
    fn default() -> Self {
        Self { disk: "/dev/disk".into(), mountinfo: "/proc/self/mountinfo".into() }
    }
}

/// The kind, name and path of a disk's url; none where it is no such url.
fn parts(url: &str) -> Option<(&'static str, &str, &str)> {
    let (folder, rest) = url
        .strip_prefix("label:")
        .map(|rest| ("by-label", rest))
        .or_else(|| url.strip_prefix("uuid:").map(|rest| ("by-uuid", rest)))?;
    let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = !name.is_empty() && !matches!(name, "." | "..") && !path.split('/').any(|part| part == "..");
    plain.then_some((folder, name, path))
}

/// Whether `url` names a disk.
#[must_use]
pub fn is_disk(url: &str) -> bool {
    parts(url).is_some()
}

impl Disks {
    /// The folder that a disk's url means now: none where the disk is not there, not mounted, or `url`
    /// is none of a disk.
    #[must_use]
    pub fn folder(&self, url: &str) -> Option<PathBuf> {
        let (kind, name, path) = parts(url)?;
        // as it is, or as `ls /dev/disk/by-label` shows it: the only way to say a `/`
        let links = [&encoded(name), name].map(|name| self.disk.join(kind).join(name));
        let device = links.into_iter().find_map(|link| fs::canonicalize(link).ok())?;
        let number = fs::metadata(&device).map(|m| m.rdev()).ok()?;
        let mounts = fs::read(&self.mountinfo).ok()?;
        let point = mounts.split(|&b| b == b'\n').filter_map(|line| mount(line, &device, number)).next_back()?;
        Some(if path.is_empty() { point } else { point.join(path) })
    }
}

/// A name as udev spells it in the name of a symlink: what is not plain ASCII there is `\xHH`.
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"#+-.:=@_".contains(&b) || b >= 0x80;
    let bytes = name.bytes().map(|b| if plain(b) { vec![b] } else { format!("\\x{b:02x}").into_bytes() });
    String::from_utf8_lossy(&bytes.flatten().collect::<Vec<u8>>()).into_owned()
}

/// Where a line of mountinfo says that all of `device` is mounted:
/// `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw`.
fn mount(line: &[u8], device: &Path, number: u64) -> Option<PathBuf> {
    let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let source = fields.iter().position(|&field| field == b"-").and_then(|dash| fields.get(dash + 2))?;
    let same_number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    // some file systems (btrfs) have a device number of their own there
    let same = number != 0 && fields.get(2) == Some(&same_number.as_bytes());
    let same = same || path_of(source).as_deref() == Some(device);
    // a bind mount of a folder in it is not the disk
    (same && fields.get(3) == Some(&b"/".as_slice())).then(|| path_of(fields.get(4)?)).flatten()
}

/// A path of mountinfo: blank, tab, newline and backslash are written in octal, `\040`.
fn path_of(field: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut raw = Vec::new();
    let mut rest = field;
    while let [first, more @ ..] = rest {
        let octal = more.get(..3).and_then(|digits| str::from_utf8(digits).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        if let (b'\\', Some(byte)) = (first, octal) {
            raw.push(byte);
            rest = &more[3..];
        } else {
            raw.push(*first);
            rest = more;
        }
    }
    Some(std::ffi::OsString::from_vec(raw).into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_disk_is_found_where_it_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("disk/by-label")).unwrap();
        fs::create_dir_all(at("disk/by-uuid")).unwrap();
        fs::write(at("sdb1"), "").unwrap();
        symlink("../../sdb1", at(r"disk/by-label/My\x20Stick")).unwrap();
        symlink("../../sdb1", at("disk/by-uuid/1234-ABCD")).unwrap();
        let device = at("sdb1").canonicalize().unwrap();
        let disks = Disks { disk: at("disk"), mountinfo: at("mountinfo") };
        let is = |text: &str, url: &str| {
            fs::write(at("mountinfo"), text.replace("DEV", &device.display().to_string())).unwrap();
            disks.folder(url).map(|path| path.display().to_string())
        };
        let mounted = "22 1 254:0 / / rw - ext4 /dev/vda rw\n36 22 8:17 / /media/me/My\\040Stick rw shared:1 - vfat DEV rw\n";
        assert_eq!(is(mounted, "label:My Stick/a/box").as_deref(), Some("/media/me/My Stick/a/box"));
        assert_eq!(is(mounted, r"label:My\x20Stick/box").as_deref(), Some("/media/me/My Stick/box"));
        symlink("../../sdb1", at(r"disk/by-label/a\x2fb")).unwrap();
        assert_eq!(is(mounted, r"label:a\x2fb/box").as_deref(), Some("/media/me/My Stick/box"));
        assert_eq!(is(mounted, "uuid:1234-ABCD").as_deref(), Some("/media/me/My Stick"));
        assert_eq!(is(mounted, "label:Other/x"), None);
        assert_eq!(is("36 22 8:17 /sub /mnt rw - vfat DEV rw\n", "uuid:1234-ABCD/x"), None, "a folder in it");
        assert_eq!(is("", "uuid:1234-ABCD/x"), None, "not mounted");
        for url in ["label:", "label:/x", "label:../x", "label:a/../../etc", "/x", "host:/x", "uuid:./x"] {
            assert!(disks.folder(url).is_none() && (!is_disk(url)), "{url}");
        }
    }
}
