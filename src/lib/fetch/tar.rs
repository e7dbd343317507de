//! A tar archive as it comes: names, kinds and sizes, and the content of each in turn.
//!
//! What another machine's tar may write is read: ustar, GNU's long names, and the paths and sizes of pax
//! headers (tar(5)). Nothing is unpacked here, so no name leads anywhere.

use std::io::{self, BufReader, Read};

use anyhow::{Context, Result, bail, ensure};

use crate::record::SIZE_MAX;

const BLOCK: usize = 512;
/// Longest header of a long name or of pax that is read.
const LONGEST: u64 = 1 << 20;

/// What an archive says of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// As it stands there.
    pub name: Vec<u8>,
    /// Whether it is a regular file: only these have content.
    pub is_file: bool,
    /// Bytes, `SIZE_MAX` at most.
    pub size: u64,
}

/// An archive that is being read.
#[derive(Debug)]
pub struct Archive<R> {
    reader: BufReader<R>,
    /// Content of the last member that was not read, and the padding after it.
    left: u64,
    padding: u64,
}

impl<R: Read> Archive<R> {
    /// Reads the archive `reader`.
    pub fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(1 << 17, reader), left: 0, padding: 0 }
    }

    /// The next member; `None` at the end of the archive.
    ///
    /// # Errors
    /// It is no archive, or is cut short.
    #[allow(clippy::should_implement_trait, reason = "it can fail, and the content of each is read from it")]
    pub fn next(&mut self) -> Result<Option<Member>> {
        let (mut long_name, mut pax_size) = (None, None);
        loop {
            io::copy(&mut (&mut self.reader).take(self.left + self.padding), &mut io::sink())?;
            (self.left, self.padding) = (0, 0);
            let mut header = [0; BLOCK];
            self.reader.read_exact(&mut header).context("the archive is cut short")?;
            if header.iter().all(|&b| b == 0) {
                return Ok(None);
            }
            ensure!(is_header(&header), "no tar archive");
            let size = number(&header[124..136])?;
            match header[156] {
                b'L' => long_name = Some(until_nul(&self.small(size)?).to_vec()),
                b'x' => {
                    let text = self.small(size)?;
                    for (key, value) in pax(&text) {
                        match key {
                            b"path" => long_name = Some(value.to_vec()),
                            b"size" => pax_size = str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
                            _ => {}
                        }
                    }
                }
                b'g' | b'K' => {
                    self.small(size)?;
                }
                kind => {
                    let is_file = matches!(kind, b'0' | 0 | b'7');
                    let size = pax_size.unwrap_or(size);
                    ensure!(size <= SIZE_MAX, "a file of {size} bytes");
                    // only a file has content, whatever the size of a folder or link may say
                    self.left = if is_file { size } else { 0 };
                    self.padding = self.left.wrapping_neg() % BLOCK as u64;
                    let name = long_name.unwrap_or_else(|| short_name(&header));
                    return Ok(Some(Member { name, is_file, size }));
                }
            }
        }
    }

    /// The content of a member that is a header itself.
    fn small(&mut self, size: u64) -> Result<Vec<u8>> {
        ensure!(size <= LONGEST, "a header of {size} bytes");
        let padded = size.next_multiple_of(BLOCK as u64);
        let mut text = Vec::new();
        (&mut self.reader).take(padded).read_to_end(&mut text)?;
        ensure!(text.len() as u64 == padded, "the archive is cut short");
        text.truncate(usize::try_from(size)?);
        Ok(text)
    }
}

/// The content of the last member.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.reader.read(&mut buffer[..room])?;
        if read == 0 && room > 0 {
            return Err(io::Error::other("the archive is cut short"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// The header of a regular file; its content follows, padded to whole blocks of 512 bytes.
pub(crate) fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name.get(..99.min(name.len())).unwrap_or_default());
    put(100, "0000600");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", size & 0o77_777_777_777));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u64 = header.iter().copied().map(u64::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn is_header(header: &[u8; BLOCK]) -> bool {
    let sum: u64 = header.iter().enumerate().map(|(at, &b)| if (148..156).contains(&at) { 32 } else { u64::from(b) }).sum();
    number(&header[148..156]).is_ok_and(|said| said == sum)
}

/// An octal number, or GNU's binary one.
fn number(field: &[u8]) -> Result<u64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        let mut bytes = std::iter::once(first & 0x7f).chain(rest.iter().copied());
        let value = bytes.try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(byte.into()));
        return value.context("a size that is no number");
    }
    let digits = field.iter().copied().skip_while(|&b| b == b' ').take_while(|&b| b != 0 && b != b' ');
    let mut value = 0_u64;
    for digit in digits {
        match digit {
            b'0'..=b'7' => value = value.checked_mul(8).context("a size that is no number")? + u64::from(digit - b'0'),
            _ => bail!("a size that is no number"),
        }
    }
    Ok(value)
}

fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|&b| b == 0).next().unwrap_or_default()
}

fn short_name(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    let prefix = until_nul(&header[345..500]);
    // only ustar has a prefix; GNU keeps other things there
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
}

/// The records `LENGTH KEY=VALUE\n` of a pax header.
fn pax(mut text: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut found = Vec::new();
    while let Some(blank) = text.iter().position(|&b| b == b' ') {
        let length = str::from_utf8(&text[..blank]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let Some(record) = length.and_then(|length| text.get(blank + 1..length)) else { break };
        let line = record.strip_suffix(b"\n").unwrap_or(record);
        if let Some(equals) = line.iter().position(|&b| b == b'=') {
            found.push((&line[..equals], &line[equals + 1..]));
        }
        text = &text[blank + 1 + record.len()..];
    }
    found
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn members(archive: &[u8]) -> Vec<(String, bool, Vec<u8>)> {
        let mut archive = Archive::new(archive);
        let mut found = Vec::new();
        while let Some(member) = archive.next().unwrap() {
            let mut content = Vec::new();
            if member.is_file && !member.name.ends_with(b"skipped") {
                (&mut archive).take(member.size).read_to_end(&mut content).unwrap();
            }
            found.push((String::from_utf8(member.name).unwrap(), member.is_file, content));
        }
        found
    }

    #[test]
    fn every_format_of_tar_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let long = "n".repeat(200);
        std::fs::create_dir_all(dir.path().join("d").join(&long)).unwrap();
        let files = ["a".to_owned(), "d/b\nb".to_owned(), format!("d/{long}/{}", "f".repeat(180)), "skipped".to_owned()];
        for (n, file) in files.iter().enumerate() {
            std::fs::write(dir.path().join(file), vec![b'x'; n * 700]).unwrap();
        }
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        for format in ["gnu", "pax", "posix"] {
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(dir.path()).args(["-c", "-f", "-", "--no-recursion", &format!("--format={format}"), "--"]);
            tar.args(&files).args(["link", "d"]).stderr(Stdio::inherit());
            let archive = tar.output().unwrap().stdout;
            let expected: Vec<_> = files
                .iter()
                .enumerate()
                .map(|(n, file)| (file.clone(), true, vec![b'x'; if file == "skipped" { 0 } else { n * 700 }]))
                .chain([("link".to_owned(), false, vec![]), ("d/".to_owned(), false, vec![])])
                .collect();
            assert_eq!(members(&archive), expected, "{format}");
            let mut cut = Archive::new(&archive[..1500]);
            assert!((0..3).any(|_| cut.next().is_err()), "{format}: cut short");
        }
        assert_eq!(Archive::new(&b"Welcome to maytag!".repeat(100)[..]).next().unwrap_err().to_string(), "no tar archive");
    }

    #[test]
    fn what_is_written_is_read() {
        let archive = [header("a", 3).to_vec(), b"abc".to_vec(), vec![0; 509], vec![0; 1024]].concat();
        assert_eq!(members(&archive), [("a".to_owned(), true, b"abc".to_vec())]);
        let mut tar =
            Command::new("tar").args(["-t", "-v", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut tar.stdin.take().unwrap(), &archive).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().ends_with(" a\n"));
    }

    #[test]
    fn a_size_may_be_a_binary_number() {
        assert_eq!(number(b"00000001750\0").unwrap(), 1000);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0x46, 0, 0, 0, 0]).unwrap(), 0x46_0000_0000);
        assert!(number(&[0xff; 12]).is_err() && number(b"9").is_err());
    }
}
