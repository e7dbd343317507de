//! Input that is read ahead by a thread of its own: whoever writes it goes on while its reader is busy. A pipe
//! holds 64 KiB, which is 200 documents; while a batch of thousands was written to the disk, all that comes
//! before it in a commit stood still, a fifth of the time.

use std::io::{self, BufRead, Read};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Builder;

/// Bytes read at a time, what a pipe holds; and how many such blocks are read ahead at most.
const BLOCK: usize = 64 << 10;
const BLOCKS: usize = 64;

/// Bytes that a pipe to or from another machine may hold: as many as Linux gives everybody. What does not fit in, ssh
/// and sshd keep in a buffer that they copy whenever that grows (sshbuf.c): half a second of a processor for 20,000 files
/// of 4 KiB, and a fifth less with this; a tenth of a second for the documents of these.
const PIPE: usize = 1 << 20;

/// Has `pipe` hold as much as it may.
pub fn widen(pipe: &impl AsFd) {
    // where it is no pipe, or may not, it is slower
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE);
}

/// A buffered reader of what a thread has read.
pub struct Ahead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    at: usize,
}

/// Reads `input` ahead; itself, buffered, where the system gives no thread for it.
pub fn ahead<R: Read + Send + 'static>(input: R, again: impl FnOnce() -> io::Result<R>) -> io::Result<Box<dyn BufRead>> {
    let (sender, blocks) = sync_channel(BLOCKS);
    let read = move || {
        let mut input = input;
        while let Some(block) = next(&mut input).transpose() {
            let last = block.is_err();
            if sender.send(block).is_err() || last {
                break;
            }
        }
    };
    match Builder::new().spawn(read) {
        Ok(_) => Ok(Box::new(Ahead { blocks, block: Vec::new(), at: 0 })),
        Err(_) => Ok(Box::new(io::BufReader::with_capacity(BLOCK, again()?))),
    }
}

/// The next bytes of `input`; none at its end.
fn next(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut block = vec![0; BLOCK];
    loop {
        match input.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(length) => {
                block.truncate(length);
                return Ok(Some(block).filter(|block| !block.is_empty()));
            }
        }
    }
}

impl BufRead for Ahead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.block.len()
            && let Ok(block) = self.blocks.recv()
        {
            (self.block, self.at) = (block?, 0);
        }
        Ok(&self.block[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.block.len().min(self.at + amount);
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Gives a few bytes at a time, and then perhaps an error.
    struct Slow(VecDeque<io::Result<Vec<u8>>>);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.pop_front().unwrap_or_else(|| Ok(Vec::new()))?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }

    fn read(parts: Vec<io::Result<Vec<u8>>>) -> (Vec<u8>, io::Result<()>) {
        let mut reader = ahead(Slow(parts.into()), || unreachable!()).unwrap();
        let mut bytes = Vec::new();
        let result = reader.read_to_end(&mut bytes).map(drop);
        (bytes, result)
    }

    #[test]
    fn everything_comes_in_its_order() {
        let parts: Vec<Vec<u8>> = (0..1000u32).map(|n| n.to_be_bytes().repeat(1 + n as usize % 70)).collect();
        let interrupted = || Err(io::ErrorKind::Interrupted.into());
        let input = parts.iter().cloned().map(Ok).chain([interrupted(), Ok(vec![1])]).collect();
        let (bytes, result) = read(input);
        assert!(result.is_ok() && bytes == [parts.concat(), vec![1]].concat());
    }

    #[test]
    fn an_error_comes_after_what_was_read() {
        let (bytes, result) = read(vec![Ok(vec![1]), Err(io::Error::other("broken")), Ok(vec![2])]);
        assert_eq!((bytes, result.unwrap_err().to_string()), (vec![1], "broken".to_owned()));
    }

    #[test]
    fn a_reader_may_end_early() {
        let parts = (0..BLOCKS + 10).map(|_| Ok(vec![0; 3])).collect::<VecDeque<_>>();
        let mut reader = ahead(Slow(parts), || unreachable!()).unwrap();
        assert_eq!(reader.fill_buf().unwrap(), [0; 3]);
    }
}
