//! A door in front of a server: it counts the requests that go through, and can spoil one of them.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]
#![allow(missing_docs, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status in place of an answer; nothing goes through.
    Status(u16),
    /// The answer ends in the middle.
    Half,
    /// It goes through, and its answer is lost.
    LostAnswer,
    /// The connection is closed.
    Closed,
    /// Nothing comes.
    Hang,
    /// What a captive portal says.
    Redirect,
    Html,
    /// JSON of something else.
    Json,
}

pub const ALL: [Fault; 11] = [
    Fault::Status(500),
    Fault::Status(503),
    Fault::Status(409),
    Fault::Status(413),
    Fault::Status(401),
    Fault::Half,
    Fault::LostAnswer,
    Fault::Closed,
    Fault::Redirect,
    Fault::Html,
    Fault::Json,
];

#[derive(Default)]
struct State {
    /// Which requests, and what happens to them.
    spoil: Option<(std::ops::Range<usize>, Fault)>,
    /// `METHOD /path` of each, bytes of its body and of its answer.
    seen: Vec<(String, usize, usize)>,
}

pub struct Door {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Door {
    /// In front of `address`, such as `127.0.0.1:5984`.
    pub fn to(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let (all, address) = (Arc::clone(&state), address.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (state, address) = (Arc::clone(&all), address.clone());
                std::thread::spawn(move || drop(serve(client, &address, &state)));
            }
        });
        Self { port, state }
    }

    /// The URL of what `url` names, through the door.
    pub fn url(&self, url: &str) -> String {
        let (before, after) = url.split_once('@').unwrap();
        format!("{before}@127.0.0.1:{}/{}", self.port, after.split_once('/').unwrap().1)
    }

    /// Begins to count anew, and spoils these requests, the first being 0.
    pub fn spoil(&self, requests: std::ops::Range<usize>, fault: Fault) {
        *self.state.lock().unwrap() = State { spoil: Some((requests, fault)), seen: Vec::new() };
    }

    /// Begins to count anew, and lets all through.
    pub fn open(&self) {
        *self.state.lock().unwrap() = State::default();
    }

    pub fn seen(&self) -> Vec<(String, usize, usize)> {
        self.state.lock().unwrap().seen.clone()
    }

    pub fn count(&self) -> usize {
        self.state.lock().unwrap().seen.len()
    }
}

fn serve(client: TcpStream, address: &str, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut client = client;
    let mut head = Vec::new();
    let mut length = 0;
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line).to_ascii_lowercase();
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == b"\r\n" {
            break;
        }
        if !text.starts_with("connection:") {
            head.extend(line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let line = line.rsplit_once(' ').map_or(line.clone(), |(line, _)| line.to_owned());
    let (number, fault) = {
        let mut state = state.lock().unwrap();
        state.seen.push((line, length, 0));
        let number = state.seen.len() - 1;
        (number, state.spoil.as_ref().filter(|(requests, _)| requests.contains(&number)).map(|s| s.1))
    };
    let say = |client: &mut TcpStream, status: &str, kind: &str, text: &str| {
        let length = text.len();
        write!(client, "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}")
    };
    match fault {
        Some(Fault::Status(status)) => {
            return say(
                &mut client,
                &format!("{status} X"),
                "application/json",
                "{\"error\":\"made_up\",\"reason\":\"by the test\"}",
            );
        }
        Some(Fault::Closed) => return Ok(()),
        Some(Fault::Hang) => {
            // until the client has gone
            let _ = reader.read(&mut [0]);
            return Ok(());
        }
        Some(Fault::Redirect) => {
            return write!(
                client,
                "HTTP/1.1 302 Found\r\nlocation: http://portal.example/login?to=x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
        Some(Fault::Html) => return say(&mut client, "200 OK", "text/html", "<html>Welcome to the hotel</html>"),
        Some(Fault::Json) => return say(&mut client, "200 OK", "application/json", "{\"hello\":[\"world\"]}"),
        _ => {}
    }
    let mut server = TcpStream::connect(address)?;
    server.write_all(&head)?;
    server.write_all(b"connection: close\r\n\r\n")?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    state.lock().unwrap().seen.get_mut(number).into_iter().for_each(|seen| seen.2 = answer.len());
    match fault {
        Some(Fault::LostAnswer) => Ok(()),
        Some(Fault::Half) => {
            let start = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(0) + 4;
            client.write_all(&answer[..start + (answer.len() - start) / 2])
        }
        _ => client.write_all(&answer),
    }
}
