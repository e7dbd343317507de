//! The wire between ssh and sshd: it counts what comes and goes, and can be cut or fall silent after some bytes.
//!
//! It is no filter in a pipe: rsync makes its pipes non-blocking, and tee and dd then lose what they read.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What happens on a connection that has carried its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Cut,
    Silence,
}

pub struct Wire {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// Bytes from the server that a connection carries.
    limit: AtomicU64,
    silent: AtomicBool,
    came: AtomicU64,
    went: AtomicU64,
    reached: AtomicBool,
    /// Connections that were made, and that are open.
    made: AtomicU64,
    open: AtomicU64,
}

impl Wire {
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            limit: AtomicU64::new(u64::MAX),
            silent: AtomicBool::new(false),
            came: AtomicU64::new(0),
            went: AtomicU64::new(0),
            reached: AtomicBool::new(false),
            made: AtomicU64::new(0),
            open: AtomicU64::new(0),
        });
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let shared = Arc::clone(&all);
                std::thread::spawn(move || shared.send(from, to));
                let shared = Arc::clone(&all);
                shared.made.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || shared.carry(server, client));
            }
        });
        Self { port, shared }
    }

    /// From now on a connection carries this many bytes.
    pub fn limit(&self, bytes: u64, then: Then) {
        self.shared.limit.store(bytes, Ordering::SeqCst);
        self.shared.silent.store(then == Then::Silence, Ordering::SeqCst);
        self.shared.came.store(0, Ordering::SeqCst);
        self.shared.went.store(0, Ordering::SeqCst);
        self.shared.reached.store(false, Ordering::SeqCst);
    }

    /// Bytes that came since the limit was set.
    pub fn came(&self) -> u64 {
        self.shared.came.load(Ordering::SeqCst)
    }

    /// Bytes that went to the server since the limit was set.
    pub fn went(&self) -> u64 {
        self.shared.went.load(Ordering::SeqCst)
    }

    /// How many connections were made since the beginning.
    pub fn made(&self) -> u64 {
        self.shared.made.load(Ordering::SeqCst)
    }

    /// Whether all connections end soon.
    pub fn all_end(&self) -> bool {
        (0..250).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            self.shared.open.load(Ordering::SeqCst) == 0
        })
    }

    /// Whether a connection has come to the limit.
    pub fn reached(&self) -> bool {
        self.shared.reached.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn send(&self, mut client: TcpStream, mut server: TcpStream) {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = client.read(&mut buffer) {
            self.went.fetch_add(read as u64, Ordering::SeqCst);
            if server.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Write);
    }

    fn carry(&self, mut server: TcpStream, mut client: TcpStream) {
        let mut buffer = [0; 4096];
        let mut carried = 0;
        while let Ok(read @ 1..) = server.read(&mut buffer) {
            carried += read as u64;
            if carried > self.limit.load(Ordering::SeqCst) {
                self.reached.store(true, Ordering::SeqCst);
                if self.silent.load(Ordering::SeqCst) {
                    // longer than anyone waits here
                    std::thread::sleep(std::time::Duration::from_secs(20));
                }
                break;
            }
            self.came.fetch_add(read as u64, Ordering::SeqCst);
            if client.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}
