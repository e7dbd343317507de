//! Machines of a test: each with an sshd of its own, in a network namespace where this system permits one (as
//! root, with iproute2 and util-linux), else on a loopback port; a cable to each that can be pulled, and a relay
//! on which every byte is on its way for a while.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::sshd::Sshd;

/// What is on its way at most, in reads.
const AHEAD: usize = 256;

/// A machine that is reached through a relay on 127.0.0.1.
pub struct Machine {
    // ended before its namespace
    pub sshd: Sshd,
    pub relay: Relay,
    net: Option<Namespace>,
}

impl Machine {
    /// One whose sessions find programs in `path`; `None` where no sshd is installed.
    pub fn start(path: &str, delay: Duration) -> Option<Self> {
        let lines = "Subsystem sftp internal-sftp";
        let net = Namespace::new();
        let sshd = match &net {
            Some(net) => {
                let pid = net.holder.id().to_string();
                Sshd::start_at(net.address, &["nsenter", "-t", &pid, "-n", "--"], path, lines)?
            }
            None => Sshd::start_with(path, lines)?,
        };
        let relay = Relay::to(sshd.address(), delay);
        Some(Self { sshd, relay, net })
    }

    /// Pulls the cable, or puts it back.
    pub fn unplug(&self, unplugged: bool) {
        match &self.net {
            Some(net) => assert!(ip(&["link", "set", &net.link, if unplugged { "down" } else { "up" }]), "{}", net.link),
            None => self.relay.shared.unplugged.store(unplugged, Ordering::SeqCst),
        }
    }

    /// How a person's ssh configuration leads here under the name `host`.
    pub fn config(&self, host: &str) -> String {
        let at = |name: &str| self.sshd.config().with_file_name(name).display().to_string();
        format!(
            "Host {host}\n  HostName 127.0.0.1\n  Port {}\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {}\n  StrictHostKeyChecking accept-new\n  LogLevel ERROR\n",
            self.relay.port,
            at("user"),
            at("known"),
        )
    }
}

/// A network of two ends: here, and in a namespace.
struct Namespace {
    /// It is gone with this process, which waits for the end of its input: so it goes with the test, however that ends.
    holder: Child,
    link: String,
    address: IpAddr,
}

/// Whether `ip` does it.
fn ip(args: &[&str]) -> bool {
    let run = Command::new("ip").args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

impl Namespace {
    /// `None`, and a word about it, where this system does not permit one.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let made = (0..8).find_map(|_| Self::try_new(NUMBER.fetch_add(1, Ordering::Relaxed)));
        if made.is_none() {
            eprintln!("no network namespace here (as root, with iproute2): a loopback port is the other machine");
        }
        made
    }

    fn try_new(number: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mut hold = Command::new("unshare");
        hold.args(["--net", "sh", "-c", "echo ready; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = hold.stderr(Stdio::null()).spawn().ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take()?).read_line(&mut line).ok()?;
        // four addresses each of the net for measuring networks (RFC 2544)
        let net = std::process::id().wrapping_mul(8).wrapping_add(number) % (1 << 15);
        let at = |host: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + net * 4 + host);
        let link = format!("ltr{net}");
        let namespace = Self { link, address: at(2).into(), holder };
        let pid = namespace.holder.id().to_string();
        let done = line == "ready\n"
            && ip(&["link", "add", &namespace.link, "type", "veth", "peer", "name", "eth0", "netns", &pid])
            && ip(&["addr", "add", &format!("{}/30", at(1)), "dev", &namespace.link])
            && ip(&["link", "set", &namespace.link, "up"])
            && namespace.inside(&["addr", "add", &format!("{}/30", at(2)), "dev", "eth0"])
            && namespace.inside(&["link", "set", "eth0", "up"])
            && namespace.inside(&["link", "set", "lo", "up"]);
        done.then_some(namespace)
    }

    fn inside(&self, args: &[&str]) -> bool {
        let pid = self.holder.id().to_string();
        let run = Command::new("nsenter").args(["-t", &pid, "-n", "--", "ip"]).args(args).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // with it its end in the namespace
        ip(&["link", "del", &self.link]);
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Passes on what comes to a port.
pub struct Relay {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    delay: Duration,
    unplugged: AtomicBool,
    came: AtomicU64,
}

impl Relay {
    fn to(server: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (unplugged, came) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { server, delay, unplugged, came });
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&all);
                std::thread::spawn(move || shared.connect(client));
            }
        });
        Self { port, shared }
    }

    /// Bytes that came from the server.
    pub fn came(&self) -> u64 {
        self.shared.came.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn connect(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect_timeout(&self.server, Duration::from_secs(20)) else { return };
        let (from, to, shared) = (client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(&self));
        std::thread::spawn(move || shared.pass(from, to, |_| {}));
        self.pass(server, client, |bytes| {
            self.came.fetch_add(bytes, Ordering::SeqCst);
        });
    }

    fn pass(self: &Arc<Self>, mut from: TcpStream, to: TcpStream, count: impl Fn(u64)) {
        let way = self.way(to);
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            count(read as u64);
            if way.send((Instant::now() + self.delay, buffer[..read].to_vec())).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Read);
    }

    /// The way to `end`, to which nothing more comes when it is dropped.
    fn way(self: &Arc<Self>, mut end: TcpStream) -> SyncSender<(Instant, Vec<u8>)> {
        let (sender, queue) = sync_channel::<(Instant, Vec<u8>)>(AHEAD);
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            for (due, bytes) in queue {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                while shared.unplugged.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                if end.write_all(&bytes).is_err() {
                    break;
                }
            }
            let _ = end.shutdown(Shutdown::Write);
        });
        sender
    }
}
