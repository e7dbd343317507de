//! A private sshd on a loopback port, so that what goes over ssh is tested over ssh.
//!
//! It runs as whoever runs the tests and lets them in with a key of its own. It is ended by its process
//! id when it is dropped.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use it")]

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running sshd.
pub struct Sshd {
    dir: tempfile::TempDir,
    program: PathBuf,
    address: SocketAddr,
    child: std::cell::RefCell<Child>,
}

impl Sshd {
    /// Starts one whose sessions find programs in `path`, the folder of the built binaries before the
    /// system's. `None` where no sshd is installed; a test then says so and ends.
    pub fn start(path: &str) -> Option<Self> {
        Self::start_with(path, "Subsystem sftp internal-sftp")
    }

    /// The same with these lines in its configuration.
    pub fn start_with(path: &str, lines: &str) -> Option<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), &[], path, lines)
    }

    /// The same at another address, run by the command line `enter`.
    pub fn start_at(address: IpAddr, enter: &[&str], path: &str, lines: &str) -> Option<Self> {
        let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"].map(Path::new).into_iter().find(|p| p.exists())?;
        // sshd, run as root, insists on its folder for privilege separation
        let _ = std::fs::create_dir_all("/run/sshd");
        let dir = tempfile::tempdir().unwrap();
        for name in ["host", "user"] {
            let key = dir.path().join(name);
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
            assert!(made.success());
        }
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let address = SocketAddr::new(address, port);
            let mut started = Self::serve(sshd, dir.path(), address, enter, path, lines);
            if wait_for(address, &mut started, dir.path()) {
                return Some(Self { dir, program: sshd.to_path_buf(), address, child: started.into() });
            }
            // somebody else took the port meanwhile
            let _ = started.kill();
            let _ = started.wait();
        }
        panic!("sshd does not start: {}", std::fs::read_to_string(dir.path().join("log")).unwrap_or_default());
    }

    fn serve(sshd: &Path, dir: &Path, address: SocketAddr, enter: &[&str], path: &str, lines: &str) -> Child {
        let (host, port) = (address.ip(), address.port());
        let at = |name: &str| dir.join(name).display().to_string();
        let mut conf = String::new();
        // of what is said twice, sshd takes the first
        writeln!(conf, "{lines}").unwrap();
        writeln!(conf, "ListenAddress {host}\nPort {port}\nHostKey {}\nPidFile none", at("host")).unwrap();
        writeln!(conf, "AuthorizedKeysFile {}\nStrictModes no\nUsePAM no", at("user.pub")).unwrap();
        writeln!(conf, "PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no").unwrap();
        writeln!(conf, "MaxStartups 100\nSetEnv \"PATH={path}\"").unwrap();
        std::fs::write(dir.join("sshd.conf"), conf).unwrap();
        let mut config = String::new();
        writeln!(config, "Host *\n  Port {port}\n  HostName {host}\n  IdentityFile {}\n  IdentitiesOnly yes", at("user"))
            .unwrap();
        writeln!(config, "  UserKnownHostsFile {}\n  StrictHostKeyChecking accept-new\n  LogLevel ERROR", at("known")).unwrap();
        std::fs::write(dir.join("config"), config).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut words = enter.iter().map(std::ffi::OsStr::new).chain([sshd.as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["-D", "-e", "-f"]).arg(dir.join("sshd.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// The value of `LTR_SSH` with which every host name leads here.
    pub fn ssh(&self) -> String {
        shlex::try_join(["ssh", "-F", self.config().to_str().unwrap()]).unwrap()
    }

    /// The ssh configuration file with which every host name leads here.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// Takes no connection any more.
    pub fn stop(&self) {
        let mut child = self.child.borrow_mut();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Kills it, with all that it serves.
    pub fn kill_all(&self) {
        let mut doomed = vec![self.child.borrow().id()];
        let mut at = 0;
        while let Some(parent) = doomed.get(at).copied() {
            doomed.extend(children(parent));
            at += 1;
        }
        for pid in doomed {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            let _ = rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL);
        }
        let _ = self.child.borrow_mut().wait();
    }

    /// Serves again, where it did before.
    pub fn start_again(&self) {
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        for _ in 0..250 {
            let mut command = Command::new(&self.program);
            command.args(["-D", "-e", "-f"]).arg(self.dir.path().join("sshd.conf"));
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone().unwrap()).spawn().unwrap();
            if wait_for(self.address, &mut child, self.dir.path()) {
                *self.child.borrow_mut() = child;
                return;
            }
            std::thread::sleep(Duration::from_millis(40));
        }
        panic!("sshd does not start again");
    }

    /// The port, on 127.0.0.1 unless it was started elsewhere.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The processes that `parent` started, by proc(5).
fn children(parent: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        after_name.split_whitespace().nth(1) == Some(&parent.to_string())
    })
    .collect()
}

/// Whether it serves in the end. That somebody answers is not enough: it may be another one, which took the same port first.
fn wait_for(address: SocketAddr, child: &mut Child, dir: &Path) -> bool {
    let listens = || std::fs::read_to_string(dir.join("log")).is_ok_and(|log| log.contains("Server listening on "));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if listens() && TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder of the built binaries, before the system's.
pub fn path_of(binary: &str) -> String {
    format!("{}:/usr/local/bin:/usr/bin:/bin", Path::new(binary).parent().unwrap().display())
}
