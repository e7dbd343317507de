//! The URL of a database: `http[s]://[user[:password]@]host[:port]/name`, the password kept apart.

use std::fmt;

use anyhow::{Context, Result, ensure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stands for itself in a part of a path (RFC 3986, 2.3).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whom it is meant for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

/// A database of a CouchDB server, or (without a name) the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    tls: bool,
    user: Option<String>,
    password: Option<Secret>,
    /// Host and port, in lower case, without the port that the scheme implies.
    authority: String,
    /// What is before the name, such as `/couchdb` behind a proxy; empty mostly.
    prefix: String,
    /// Decoded; empty for the server.
    name: String,
}

impl Database {
    /// Parses the URL of a database.
    ///
    /// # Errors
    /// It is none; the message never has the text, which may have a password.
    pub fn parse(text: &str) -> Result<Self> {
        let database = Self::parse_server(text)?;
        let shown = database.server();
        let name = &database.name;
        ensure!(!name.is_empty(), "{shown}: no database in the url (http://host:5984/name)");
        let mut bytes = name.bytes();
        let plain = bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_$()+/-".contains(&b));
        ensure!(
            plain && name.len() <= 200,
            "{shown}: not the name of a database: {name:?} (lower-case letters, digits and _$()+/-, a letter first)"
        );
        Ok(database)
    }

    /// Parses the URL of a server, or of something on it.
    ///
    /// # Errors
    /// As [`Database::parse`].
    pub fn parse_server(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").context("not a url")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => anyhow::bail!("not an http url"),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user_info, host) = authority.rsplit_once('@').map_or((None, authority), |(info, host)| (Some(info), host));
        let host = host.to_ascii_lowercase();
        check_host(&host)?;
        let (user, password) = match user_info.map(|info| info.split_once(':').map_or((info, None), |(u, p)| (u, Some(p)))) {
            None | Some(("", None)) => (None, None),
            Some((user, password)) => {
                let user = decode(user).context("the user in the url")?;
                ensure!(!user.is_empty() && !user.contains(':'), "no user before the password in the url");
                (Some(user), password.map(|p| decode(p).context("the password in the url")).transpose()?.map(Secret::new))
            }
        };
        // from here on the text has no password
        let plain = !path.contains(['?', '#', '\\']) && !path.contains(|c: char| c.is_control() || c == ' ');
        ensure!(plain, "{host}: the url of a database has no ?, # or blank");
        let path = path.trim_end_matches('/');
        let odd = |part: &str| part == "." || part == ".." || part.is_empty();
        ensure!(path.is_empty() || !path.split('/').any(odd), "{host}: .. or // in the url");
        let (prefix, name) = path.rsplit_once('/').map_or(("", path), |(prefix, name)| (prefix, name));
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        let implied = if tls { ":443" } else { ":80" };
        let authority = host.strip_suffix(implied).unwrap_or(&host).to_owned();
        Ok(Self { tls, user, password, authority, prefix, name: decode(name)? })
    }

    /// The name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whom to log in as.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, where the URL has one.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Host and port.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host alone.
    #[must_use]
    pub fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => &self.authority,
        }
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.tls
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The URL of the server, without user or password.
    #[must_use]
    pub fn server(&self) -> String {
        format!("{}://{}{}", self.scheme(), self.authority, self.prefix)
    }

    /// The URL without user or password, the same for everyone.
    #[must_use]
    pub fn key(&self) -> String {
        if self.name.is_empty() { format!("{}/", self.server()) } else { format!("{}/{}", self.server(), encode(&self.name)) }
    }

    /// The URL with the user, and with the password that `password` is, where there is one.
    #[must_use]
    pub fn with_password(&self, password: Option<&Secret>) -> String {
        let user = self.user.as_deref().map(encode).unwrap_or_default();
        let password = password.map(|p| format!(":{}", encode(p.reveal()))).unwrap_or_default();
        let at = if user.is_empty() { "" } else { "@" };
        self.key().replacen("://", &format!("://{user}{password}{at}"), 1)
    }

    /// The same database for somebody else.
    #[must_use]
    pub fn of(&self, user: &str, password: Option<Secret>) -> Self {
        Self { user: Some(user.to_owned()), password, ..self.clone() }
    }

    /// The same without the password.
    #[must_use]
    pub fn without_password(&self) -> Self {
        Self { password: None, ..self.clone() }
    }

    /// Whether `self`, a line of the credentials file, is about `other`: the same database or its
    /// server, and the same user where `other` has one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let place = self.tls == other.tls && self.authority == other.authority;
        let user = other.user.is_none() || self.user == other.user;
        let whole = self.name.is_empty() || (self.name == other.name && self.prefix == other.prefix);
        place && user && whole
    }
}

impl fmt::Display for Database {
    /// With the user, never with the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_password(None))
    }
}

/// Spells `text` as a part of a path or of the user's.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// What percent-encoded `text` stands for; a `%` that begins nothing stands for itself.
///
/// # Errors
/// It is not UTF-8, or has a control character.
pub(crate) fn decode(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| anyhow::anyhow!("not UTF-8"))?;
    ensure!(!decoded.contains(char::is_control), "a control character");
    Ok(decoded.into_owned())
}

/// RFC 952, RFC 1123, and `[]:` for IPv6 and ports.
fn check_host(host: &str) -> Result<()> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    ensure!(port.is_none_or(|p| p.parse::<u16>().is_ok()), "not a port in the url");
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let plain = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
    };
    ensure!(plain && !name.starts_with('-'), "not a host in the url");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_url() {
        let url = Database::parse("http://thomas:p%40ss:w@Maytag:5984/testspace/").unwrap();
        assert_eq!((url.user(), url.password().unwrap().reveal()), (Some("thomas"), "p@ss:w"));
        assert_eq!((url.name(), url.authority(), url.host()), ("testspace", "maytag:5984", "maytag"));
        assert_eq!(url.to_string(), "http://thomas@maytag:5984/testspace");
        assert_eq!(url.key(), "http://maytag:5984/testspace");
        assert_eq!(url.with_password(url.password()), "http://thomas:p%40ss%3Aw@maytag:5984/testspace");
        assert!(!format!("{url:?}").contains("p@ss"));
        for (text, key) in [
            ("https://h/x", "https://h/x"),
            ("HTTPS://H:443/x", "https://h/x"),
            ("http://h:80/x", "http://h/x"),
            ("http://h/couchdb/x", "http://h/couchdb/x"),
            ("http://h/a%2Fb+c", "http://h/a%2Fb%2Bc"),
            ("http://[::1]:5984/x", "http://[::1]:5984/x"),
            ("http://@h/x", "http://h/x"),
        ] {
            assert_eq!(Database::parse(text).unwrap().key(), key, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_database_is_refused_without_its_password() {
        for text in [
            "http://u:secret@h",
            "http://u:secret@h/",
            "http://u:secret@h/Upper",
            "http://u:secret@h/9x",
            "http://u:secret@h/x?y",
            "http://u:secret@h/x#y",
            "http://u:secret@h/../x",
            "http://u:secret@h//x",
            "http://u:secret@h:99999/x",
            "http://u:secret@-h/x",
            "http://u:secret@h h/x",
            "http://u:secret@[1]/x",
            "http://:secret@h/x",
            "http://u:%ff@h/x",
            "http://u:secret@/x",
            "http:///x",
            "http://h/_users",
        ] {
            let error = format!("{:#}", Database::parse(text).expect_err(text));
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_line_of_the_credentials_is_about_databases_and_servers() {
        let of = |text: &str| Database::parse_server(text).unwrap();
        for (line, url, is) in [
            ("http://u:p@h/x", "http://h/x", true),
            ("http://u:p@h/x", "http://u@h/x", true),
            ("http://u:p@h/", "http://u@h/x", true),
            ("http://u:p@h", "http://u@h/pre/x", true),
            ("http://u:p@h/x", "http://v@h/x", false),
            ("http://u:p@h/x", "http://h/y", false),
            ("http://u:p@h/x", "https://h/x", false),
            ("http://u:p@h:5984/x", "http://h/x", false),
        ] {
            assert_eq!(of(line).covers(&of(url)), is, "{line} {url}");
        }
    }
}
