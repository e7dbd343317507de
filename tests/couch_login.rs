//! How a person and a server come to trust each other: certificates, passwords typed on a terminal, and what
//! `--continuous` says about ending it.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/shell.rs"]
mod shell;
#[path = "common/strict.rs"]
mod strict;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use shell::Shell;
use strict::{ADMIN, Strict};

/// Runs openssl(1) in a folder.
fn openssl(folder: &Path, words: &str) {
    let ran = Command::new("openssl").args(words.split(' ')).current_dir(folder).output().unwrap();
    assert!(ran.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// An authority of one's own, `NAME.pem`, and the certificate of a server on this machine.
fn certify(folder: &Path, name: &str) {
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(folder, &format!("req -x509 {new} -keyout {name}.key -out {name}.pem -subj /CN={name} -days 2"));
    openssl(folder, &format!("req {new} -keyout server.key -out server.csr -subj /CN=localhost"));
    fs::write(folder.join("extra"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        folder,
        &format!(
            "x509 -req -in server.csr -CA {name}.pem -CAkey {name}.key -CAcreateserial -out server.pem -days 2 -extfile extra"
        ),
    );
}

/// A server that speaks TLS with the certificate in the folder.
fn encrypted(folder: &Path) -> Strict {
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let config = Arc::new(config);
    Strict::behind(move |client| Ok(StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), client)))
}

#[test]
fn a_certificate_of_ones_own_authority_is_trusted_where_it_is_named() {
    let s = Shell::new();
    fs::create_dir(s.at("ca")).unwrap();
    certify(&s.at("ca"), "mine");
    let couch = encrypted(&s.at("ca"));
    certify(&s.at("ca"), "another");
    let url = couch.url(ADMIN, "x").replace("http://", "https://");
    // nobody vouches for it
    s.ltr(".", ["init", &url]).fails(3, "UnknownIssuer").fails(3, "LTR_CA_FILE names a file");
    let with = |file: &str, args: &[&str]| {
        let words = args.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        s.sh(".", &format!("LTR_CA_FILE=$PWD/{file} ltr {words}"))
    };
    with("ca/another.pem", &["init", &url]).fails(3, "neither the system nor LTR_CA_FILE=");
    with("ca/mine.key", &["init", &url]).fails(3, "ca/mine.key: no certificate in it");
    with("ca/nothing", &["init", &url]).fails(3, "ca/nothing: No such file");
    assert!(couch.asked().is_empty(), "nobody said a word to it");
    assert_eq!(with("ca/mine.pem", &["init", &url]).ok(), "ltr: create database  x\nltr: push design docs  x\n");
    s.write("xyz/one", "one");
    with("ca/mine.pem", &["create", &url, "b", "xyz"]).ok();
    with("ca/mine.pem", &["-C", "xyz", "commit"]).ok();
    assert!(couch.documents("x").contains_key("b:/one"));
    assert!(s.read("xyz/.ltr").starts_with("https://admin@127.0.0.1:"));
    // a command that can do without goes on, and says why
    s.write("xyz/two", "two");
    let ran = s.ltr("xyz", ["commit"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "N  /two\n"), "{}", ran.err);
    assert!(
        ran.err.contains("UnknownIssuer") && ran.err.contains("LTR_CA_FILE") && ran.err.contains("1 document to push"),
        "{}",
        ran.err
    );
    // for another name it is no certificate
    let elsewhere = url.replace("127.0.0.1", "localhost");
    with("ca/mine.pem", &["init", &elsewhere]).fails(3, "no encrypted connection");
    assert!(!ran.err.contains("correct-horse"));
}

/// What a command shows on a terminal on which somebody types, once it asks.
fn typed(s: &Shell, command: &str, answer: &str) -> (String, i32) {
    let mut script = s.command(".", "script");
    script.args(["-q", "-e", "-f", "-c", command, "/dev/null"]).env("SHELL", "/bin/sh");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut asked, mut buffer) = (String::new(), false, [0; 4096]);
    loop {
        let read = screen.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        shown += &String::from_utf8_lossy(&buffer[..read]);
        if !asked && shown.contains("Password for") {
            asked = true;
            writeln!(keys, "{answer}").unwrap();
        }
    }
    (shown, child.wait().unwrap().code().unwrap())
}

#[test]
fn a_password_that_is_not_in_the_url_is_asked_for() {
    let couch = Strict::start();
    let s = Shell::new();
    let url = couch.url("admin", "x");
    let kept = ".config/ltr/credentials";
    let (shown, status) = typed(&s, &format!("ltr init {url}"), "wrong-mare");
    assert_eq!(status, 3, "{shown}");
    assert!(shown.contains("refuses the password of admin") && !s.exists(format!("home/{kept}")), "{shown}");
    let (shown, status) = typed(&s, &format!("ltr init {url}"), "correct-horse");
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains(&format!("Password for admin at http://127.0.0.1:{}: ", couch.port)), "{shown}");
    assert!(shown.contains("create database") && !shown.contains("correct-horse"), "{shown}");
    assert_eq!(s.read(format!("home/{kept}")), format!("{}\n", couch.url(ADMIN, "x")));
    // it is not asked for again
    assert_eq!(s.ltr(".", ["init", &url]).ok(), "ltr: database exists  x\n");
    // nor where nobody is there; and `ltr create` asks as well
    fs::remove_file(s.at(format!("home/{kept}"))).unwrap();
    s.ltr(".", ["init", &url]).fails(3, kept);
    fs::create_dir(s.at("xyz")).unwrap();
    s.ltr(".", ["create", &url, "b", "xyz"]).fails(3, kept);
    let (shown, status) = typed(&s, &format!("ltr create {url} b xyz"), "correct-horse");
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("wrote cookie for b") && !shown.contains("correct-horse"), "{shown}");
    s.ltr("xyz", ["sync"]).ok();
}

#[test]
fn a_continuous_replication_is_ended_as_it_says() {
    let couch = Strict::start();
    let s = Shell::new();
    let (from, to) = (couch.url(ADMIN, "x"), couch.url(ADMIN, "y"));
    s.ltr(".", ["init", &from]).ok();
    s.ltr(".", ["init", &to]).ok();
    s.ltr(".", ["sync", "--continuous", "-d", &from, "-D", &to]).fails(3, "--keep-password");
    let said = s.ltr(".", ["sync", "--continuous", "--keep-password", "-d", &from, "-D", &to]);
    let lines: Vec<&str> = said.ok().lines().collect();
    let ends = (couch.url("admin", "x"), couch.url("admin", "y"));
    assert_eq!(lines[0], format!("ltr: from now on {} is sent to {}", ends.0, ends.1));
    let stop = lines[1].strip_prefix("ltr: to stop it: ").unwrap();
    assert!(stop.starts_with("curl -n -X DELETE ") && !stop.contains("correct-horse"), "{stop}");
    s.write("home/.netrc", "machine 127.0.0.1 login admin password correct-horse\n");
    couch.asked();
    let ran = s.sh(".", &format!("{} -s", stop));
    assert!(ran.ok().contains("\"ok\":true"), "{}", ran.out);
    assert!(couch.asked().iter().any(|one| one.method == "DELETE" && one.path.contains("/_replicator/ltr-")));
    // there is none any more
    assert!(s.sh(".", &format!("{stop} -s")).ok().contains("not_found"));
}
