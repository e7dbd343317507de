//! Passwords: kept once in a file that only its owner reads, looked up there and in `~/.netrc`.

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

use anyhow::{Context, Result};

use super::places::Places;
use super::url::{Database, Secret};

/// Keeps the password of a URL, in place of an older one.
///
/// # Errors
/// The file cannot be written.
pub fn keep(places: &Places, database: &Database) -> Result<()> {
    let (Some(_), Some(password)) = (database.user(), database.password()) else { return Ok(()) };
    let file = places.credentials();
    let named = || file.display().to_string();
    let line = database.with_password(Some(password));
    let old = read(places)?;
    if old.lines().next_back() == Some(&line) {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&places.config).with_context(named)?;
    let same =
        |text: &&str| Database::parse_server(text).is_ok_and(|other| other.without_password() == database.without_password());
    // made with the mode 0600, and then put in the place of the old one whole
    let mut new = tempfile::Builder::new().prefix(".credentials").tempfile_in(&places.config).with_context(named)?;
    for kept in old.lines().filter(|text| !same(text)).chain([line.as_str()]) {
        writeln!(new, "{kept}").with_context(named)?;
    }
    new.as_file().set_permissions(fs::Permissions::from_mode(0o600)).with_context(named)?;
    new.as_file().sync_all().with_context(named)?;
    new.persist(&file).map_err(|e| e.error).with_context(named)?;
    Ok(())
}

fn read(places: &Places) -> Result<String> {
    let file = places.credentials();
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

/// Who to be, and the password, for a database: from the URL, the credentials file, `~/.netrc`.
///
/// # Errors
/// A file cannot be read.
pub fn look_up(places: &Places, database: &Database) -> Result<Option<(String, Secret)>> {
    if let (Some(user), Some(password)) = (database.user(), database.password()) {
        return Ok(Some((user.to_owned(), password.clone())));
    }
    let text = read(places)?;
    let lines = text.lines().filter_map(|line| Database::parse_server(line.trim()).ok());
    // what is about the database itself goes before what is about its server, the last before others
    let best = lines.filter(|line| line.covers(database)).max_by_key(|line| !line.name().is_empty());
    if let Some((Some(user), Some(password))) = best.as_ref().map(|line| (line.user(), line.password())) {
        return Ok(Some((user.to_owned(), password.clone())));
    }
    let file = places.netrc();
    match fs::read_to_string(&file) {
        Ok(text) => Ok(netrc(&text, database.host(), database.user())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

/// The login and password of `host` in the text of a `.netrc` (ftp(1)).
fn netrc(text: &str, host: &str, user: Option<&str>) -> Option<(String, Secret)> {
    let mut words = words(text).into_iter();
    let mut found: Option<(Option<String>, Option<String>)> = None;
    let complete = |found: &mut Option<(Option<String>, Option<String>)>| match found.take() {
        Some((Some(login), Some(password))) if user.is_none_or(|u| u == login) => Some((login, Secret::new(password))),
        _ => None,
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "machine" | "default" => {
                if let Some(done) = complete(&mut found) {
                    return Some(done);
                }
                let here = word == "default" || words.next().is_some_and(|name| name.eq_ignore_ascii_case(host));
                found = here.then_some((None, None));
            }
            "login" => {
                let value = words.next();
                if let Some(found) = &mut found {
                    found.0 = value;
                }
            }
            "password" => {
                let value = words.next();
                if let Some(found) = &mut found {
                    found.1 = value;
                }
            }
            "account" => drop(words.next()),
            _ => {}
        }
    }
    complete(&mut found)
}

/// The words of a `.netrc`: blanks part them, `"` keeps blanks together, a `macdef` goes to the next empty line.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut in_macro = false;
    for line in text.lines() {
        if in_macro {
            in_macro = !line.trim().is_empty();
            continue;
        }
        let mut rest = line.trim_start();
        if rest.starts_with('#') {
            continue;
        }
        while !rest.is_empty() {
            let (word, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
            };
            in_macro |= word == "macdef";
            words.push(word.to_owned());
            rest = after.trim_start();
        }
        if in_macro {
            words.truncate(words.iter().rposition(|w| w == "macdef").unwrap_or(words.len()));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Database {
        Database::parse_server(text).unwrap()
    }

    fn found(places: &Places, text: &str) -> Option<String> {
        look_up(places, &url(text)).unwrap().map(|(user, password)| format!("{user}:{}", password.reveal()))
    }

    #[test]
    fn a_password_is_kept_once_and_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let places = Places::below(home.path());
        assert_eq!(found(&places, "http://h/x"), None);
        for text in ["http://u:old@h/x", "http://v:other@h/x", "http://u:a%20b@h/x", "http://s:server@h/", "http://nobody@h/z"] {
            keep(&places, &url(text)).unwrap();
        }
        let text = fs::read_to_string(places.credentials()).unwrap();
        assert_eq!(text, "http://v:other@h/x\nhttp://u:a%20b@h/x\nhttp://s:server@h/\n");
        assert_eq!(fs::metadata(places.credentials()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&places.config).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&places.config).unwrap().count(), 1);
        for (text, is) in [
            ("http://u@h/x", Some("u:a b")),
            ("http://v@h/x", Some("v:other")),
            ("http://h/x", Some("u:a b")),
            ("http://h/y", Some("s:server")),
            ("http://w@h/x", None),
            ("http://w:own@h/x", Some("w:own")),
            ("http://other/x", None),
        ] {
            assert_eq!(found(&places, text).as_deref(), is, "{text}");
        }
    }

    #[test]
    fn netrc_comes_last() {
        let home = tempfile::tempdir().unwrap();
        let places = Places::below(home.path());
        let netrc = "# hosts\nmachine a login u password one\nmacdef init\n machine h login evil password evil\n\n\
                     machine h\n\tlogin u account x\n\tpassword \"t w o\"\nmachine h login v password three\ndefault login d password four\n";
        fs::write(home.path().join(".netrc"), netrc).unwrap();
        for (text, is) in [
            ("http://h/x", "u:t w o"),
            ("http://h:5984/x", "u:t w o"),
            ("http://v@h/x", "v:three"),
            ("http://other/x", "d:four"),
            ("http://d@other/x", "d:four"),
        ] {
            assert_eq!(found(&places, text).as_deref(), Some(is), "{text}");
        }
        assert_eq!(found(&places, "http://w@h/x"), None);
        keep(&places, &url("http://u:kept@h/x")).unwrap();
        assert_eq!(found(&places, "http://h/x").as_deref(), Some("u:kept"));
    }
}
