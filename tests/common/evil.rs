//! The table of evil records and documents: what an index, a pipe or another machine may say that no ltr
//! would. `tests/evil.rs` pushes each row through whatever reads it.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(missing_docs, reason = "helpers of tests")]

use serde_json::{Value, json};

pub const STAMP: &str = "01a203130000-0000-00000001";

/// What has no business in a path, as JSON.
pub fn paths() -> Vec<String> {
    let mut paths: Vec<String> = [
        r#""/../outside/file""#,
        r#""/sub/../../outside/file""#,
        r#""/sub/..""#,
        r#""..""#,
        r#""../outside/file""#,
        r#""outside""#,
        r#""""#,
        r#""//""#,
        r#""/sub//one""#,
        r#""/sub/""#,
        r#""/./sub""#,
        r#""/a\u0000b""#,
        r#""/a\\x00b""#,
        r#""/\\x2e\\x2e/outside""#,
        r#""/\\x2E\\x2E/outside""#,
        r#""/sub\\x2foutside""#,
        r#""/sub\\q""#,
        r#""/sub\\""#,
        "7",
        "null",
        "[\"/sub\"]",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push(format!("\"/{}\"", "n".repeat(300)));
    paths.push(format!("\"{}\"", "/n".repeat(3000)));
    paths
}

/// Names that are ltr's own, and so nobody's file.
pub const OWN: [&str; 6] = ["/.ltr", "/.ltr-tmp/x", "/.LTR", "/.ltr-index/space", "/sub/.ltr", "/sub/.Ltr/x"];

pub fn entry(path: &str) -> String {
    let id = serde_json::from_str::<String>(path).unwrap_or_else(|_| "/x".to_owned());
    let id = serde_json::to_string(&format!("b:{id}")).unwrap();
    format!(
        r#"{{"_id":{id},"type":"entry","box":"b","path":{path},"ftype":"file","present":true,"commit":1,"size":20,"mtime":1,"mode":"0644","sha1":"{}","version":{{"00000001":1}},"stamp":"{STAMP}"}}"#,
        "0".repeat(40)
    )
}

pub fn mark(path: &str) -> String {
    let id = serde_json::from_str::<String>(path).unwrap_or_else(|_| "/x".to_owned());
    let id = serde_json::to_string(&format!("mark:b:{id}")).unwrap();
    format!(r#"{{"_id":{id},"type":"mark","box":"b","path":{path},"want":"skip","seen":1,"stamp":"{STAMP}"}}"#)
}

pub fn scan(path: &str) -> String {
    format!(
        r#"{{"type":"scan","path":{path},"ftype":"file","size":20,"mtime":1,"mode":"0644","local":{{"ino":1,"ctime":1,"ctime_nsec":0}},"status":"N","change":"new"}}"#
    )
}

pub fn action(verb: &str, path: &str, more: &str) -> String {
    let sha1 = litter::hash::sha1_of(b"somebody's only copy");
    format!(
        r#"{{"type":"action","action":"{verb}","box":"a","path":{path},"ftype":"file","size":20,"mtime":1,"mode":"0644","sha1":"{sha1}","version":{{"00000001":1}}{more}}}"#
    )
}

/// An entry with one field changed; `null` takes it away.
fn spoiled(key: &str, value: &Value) -> String {
    let mut entry: Value = serde_json::from_str(&entry("\"/new\"")).unwrap_or_default();
    if value.is_null() {
        entry.as_object_mut().map(|map| map.remove(key));
    } else {
        entry[key] = value.clone();
    }
    entry.to_string()
}

/// Documents that no index takes, by name.
pub fn refused() -> Vec<(String, Vec<u8>)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    for path in paths() {
        rows.push((format!("an entry at {path:.40}"), entry(&path)));
        rows.push((format!("a mark at {path:.40}"), mark(&path)));
    }
    for path in OWN {
        rows.push((format!("an entry at {path}"), entry(&format!("{path:?}"))));
    }
    rows.push(("an entry at /".into(), entry("\"/\"")));
    for (key, value) in [
        ("box", json!("-oProxyCommand=touch pwned")),
        ("box", json!("b\nx")),
        ("box", json!("space")),
        ("box", json!("_design/x")),
        ("box", Value::Null),
        ("path", json!("/another")),
        ("size", json!(-1)),
        ("size", json!(1e300)),
        ("size", json!(9_223_372_036_854_775_808_u64)),
        ("size", json!("20")),
        ("mtime", json!(9.3e18)),
        ("mtime", json!("yesterday")),
        ("mtime_nsec", json!(4_294_967_296_u64)),
        ("mtime_nsec", json!(-1)),
        ("mode", json!("9999")),
        ("mode", json!("17777")),
        ("mode", json!(644)),
        ("sha1", json!("xyz")),
        ("sha1", json!("DA39A3EE5E6B4B0D3255BFEF95601890AFD80709")),
        ("sha1", Value::Null),
        ("ftype", json!("fifo")),
        ("ftype", json!("symlink")),
        ("ftype", json!("dir")),
        ("target", json!("/etc/passwd")),
        ("version", json!({"00000001": 0})),
        ("version", json!({"00000001": -1})),
        ("version", json!({"00000001": 9_007_199_254_740_992_u64})),
        ("version", json!({"-oX": 1})),
        ("version", json!([])),
        ("commit", json!(9_007_199_254_740_992_u64)),
        ("commit", json!(-1)),
        ("commit", json!(9_007_199_254_740_991_u64)),
        ("stamp", json!("ffffffffffff-ffff-ffffffff")),
        ("stamp", json!("tomorrow")),
        ("moved", json!("/../outside")),
        ("_rev", json!("1-a")),
        ("_id", json!("_design/x")),
        ("present", json!("yes")),
    ] {
        rows.push((format!("an entry with {key} {value:.40}"), spoiled(key, &value)));
    }
    let stamp = STAMP;
    for (name, line) in [
        ("a path twice", entry("\"/new\"").replacen("\"size\"", "\"path\":\"/../outside\",\"size\"", 1)),
        ("a type twice", format!(r#"{{"_id":"x","type":"tag","type":"entry","stamp":"{stamp}"}}"#)),
        ("the key of an entry", format!(r#"{{"_id":"b:/three","type":"tag","stamp":"{stamp}"}}"#)),
        ("a box that is a design document", format!(r#"{{"_id":"_design/x","type":"box","uuid":"u","stamp":"{stamp}"}}"#)),
        ("a design document", format!(r#"{{"_id":"_design/x","type":"tag","stamp":"{stamp}"}}"#)),
        ("a local document", format!(r#"{{"_id":"_local/x","type":"tag","stamp":"{stamp}"}}"#)),
        ("a box that is an option", format!(r#"{{"_id":"-rf","type":"box","uuid":"u","stamp":"{stamp}"}}"#)),
        ("a box that is a folder", format!(r#"{{"_id":"../b","type":"box","uuid":"u","stamp":"{stamp}"}}"#)),
        ("urls that are none", format!(r#"{{"_id":"e","type":"box","uuid":"u","urls":[7],"stamp":"{stamp}"}}"#)),
        ("urls that are a text", format!(r#"{{"_id":"e","type":"box","uuid":"u","urls":"/etc","stamp":"{stamp}"}}"#)),
        ("another space", format!(r#"{{"_id":"space","type":"space","uuid":"another","stamp":"{stamp}"}}"#)),
        ("a space of the future", format!(r#"{{"_id":"space","type":"space","uuid":"u","format":99,"stamp":"{stamp}"}}"#)),
        (
            "a field that is younger than its document",
            format!(
                r#"{{"_id":"e","type":"box","policy":"complete","stamp":"{stamp}","stamps":{{"policy":"ffffffffffff-ffff-ffffffff"}}}}"#
            ),
        ),
        ("a long key", format!(r#"{{"_id":"{}","type":"tag","stamp":"{stamp}"}}"#, "k".repeat(9000))),
        ("deep JSON", format!(r#"{{"_id":"x","type":"tag","stamp":"{stamp}","x":{}"#, "[".repeat(100_000))),
        (
            "deep JSON that ends",
            format!(r#"{{"_id":"x","type":"tag","stamp":"{stamp}","x":{}{}}}"#, "[".repeat(500), "]".repeat(500)),
        ),
    ] {
        rows.push((name.to_owned(), line));
    }
    let mut rows: Vec<(String, Vec<u8>)> = rows.into_iter().map(|(name, line)| (name, line.into_bytes())).collect();
    rows.push(("bytes".into(), format!(r#"{{"_id":"x","type":"tag","stamp":"{stamp}","x":""#).into_bytes()));
    if let Some((_, line)) = rows.last_mut() {
        line.extend_from_slice(b"\xff\"}");
    }
    rows
}

/// Documents that are what they should be, and lie: urls of other folders, contents that nobody has,
/// names that drive terminals. `outside` is a folder that is no box, `hash` the hash of `outside/file`.
pub fn taken(outside: &str, hash: &str, text: &str) -> Vec<String> {
    let stamp = STAMP;
    let mut rows = Vec::new();
    let esc = "\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}31m\u{202e}";
    let urls = [
        "/etc",
        outside,
        &format!("file://{outside}"),
        &format!("{outside}/../outside"),
        "-oProxyCommand=touch pwned:/x",
        "ssh://-oProxyCommand=touch pwned/x",
        "a@-oProxyCommand=touch pwned:/x",
        "h;touch pwned:/x",
        "$(touch pwned):/x",
        "`touch pwned`:/x",
        "../outside",
        "",
        "host\n:/x",
        "ssh://h:99999/x",
        "http://127.0.0.1:1/x",
        "/proc/self/root",
        "/dev/tty",
        &format!("{esc}:/x"),
        &format!("/{esc}"),
    ];
    for (number, url) in urls.iter().enumerate() {
        let name = format!("evil{number}");
        rows.push(
            json!({"_id": name, "type": "box", "uuid": esc, "policy": esc, "urls": [url], "stamp": stamp, "reserve": -1, esc: esc}),
        );
        // what it says to have is in the folder that its url names
        for (path, sha1, size) in [("file", hash, text.len()), ("passwd", "0000000000000000000000000000000000000001", 5)] {
            rows.push(json!({"_id": format!("{name}:/{path}{number}"), "type": "entry", "box": name, "path": format!("/{path}{number}"),
                "ftype": "file", "present": true, "commit": 1, "size": size, "mtime": 1, "mode": "4755", "sha1": sha1, "mime": esc,
                "version": {"00000002": 1}, "stamp": stamp}));
        }
    }
    let lie = |path: &str, size: u64, mtime: i64, sha1: &str| {
        json!({"_id": format!("b:{path}"), "type": "entry", "box": "b", "path": path, "ftype": "file", "present": true, "commit": 9,
            "size": size, "mtime": mtime, "mode": "7777", "sha1": sha1, "version": {"00000003": 7}, "stamp": "01a2031f0000-0000-00000001"})
    };
    // the sha1 of something else, sizes that lie, times that no clock has
    rows.push(lie("/three", 5, 1, "0000000000000000000000000000000000000002"));
    rows.push(lie("/sub/one", 1, i64::MIN, "0000000000000000000000000000000000000003"));
    rows.push(lie("/sub/deep/two", 0, i64::MAX, hash));
    rows.push(lie("/nothing", 0, 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709"));
    for name in
        ["/-n", "/--help", "/$(touch pwned)", "/`touch pwned`", "/a\nD  fake", &format!("/{esc}"), "/\u{202e}gpj", "/\\xff\u{1b}"]
    {
        rows.push(lie(name, 5, 1, "0000000000000000000000000000000000000004"));
    }
    // a symlink out of the box, and a file below it
    let link = |path: &str, target: &str| {
        json!({"_id": format!("b:{path}"), "type": "entry", "box": "b", "path": path, "ftype": "symlink", "present": true, "commit": 9,
            "size": target.len(), "mtime": 1, "mode": "0777", "sha1": litter::hash::sha1_of(target.as_bytes()).to_string(), "target": target,
            "version": {"00000003": 7}, "stamp": "01a2031f0000-0000-00000001"})
    };
    rows.push(link("/way", outside));
    rows.push(link("/passwd", "/etc/passwd"));
    rows.push(lie("/way/file", text.len() as u64, 1, hash));
    rows.push(lie("/way/new", text.len() as u64, 1, hash));
    // a file where a folder is, and the reverse
    rows.push(lie("/sub", text.len() as u64, 1, hash));
    rows.push(lie("/three/x", text.len() as u64, 1, hash));
    // intentions: everything is to go, wherever it is said to be, however few copies there are
    for name in ["a", "evil1"] {
        for (path, want) in [("/", "skip"), ("/only", "skip"), ("/.ltr", "want"), ("/sub", "skip")] {
            rows.push(json!({"_id": format!("mark:{name}:{path}"), "type": "mark", "box": name, "path": path, "want": want,
                "seen": 1_700_000_000_000_u64, "stamp": stamp}));
        }
    }
    rows.push(json!({"_id": "evil1:/only", "type": "entry", "box": "evil1", "path": "/only", "ftype": "file", "present": true, "commit": 1,
        "size": 18, "mtime": 1, "mode": "0644", "sha1": litter::hash::sha1_of(b"a's last copy of it").to_string(),
        "version": {"00000002": 1}, "stamp": stamp}));
    rows.push(json!({"_id": "tag:x", "type": "tag", "stamp": stamp, esc: {esc: [esc, 1e300, null]}}));
    rows.iter().map(Value::to_string).collect()
}

/// What an index's file may hold in its tables, whatever ltr would have written there.
pub const TABLES: [(&str, &str); 16] = [
    ("a folder above the box", "UPDATE folders SET key = CAST('..' AS BLOB) WHERE key = CAST('sub' AS BLOB)"),
    ("a folder in two parts", "UPDATE folders SET key = CAST('sub/..' AS BLOB) WHERE key = CAST('sub' AS BLOB)"),
    ("a name above the box", "UPDATE entries SET name = CAST('..' AS BLOB) WHERE name = CAST('one' AS BLOB)"),
    ("a name of two", "UPDATE entries SET name = CAST('a/../../outside/file' AS BLOB) WHERE name = CAST('one' AS BLOB)"),
    ("a name that is empty", "UPDATE entries SET name = x'' WHERE name = CAST('one' AS BLOB)"),
    ("a name of ltr's own", "UPDATE entries SET name = CAST('.ltr' AS BLOB) WHERE name = CAST('three' AS BLOB)"),
    ("a box that is an option", "UPDATE boxes SET name = '-oProxyCommand=touch pwned' WHERE name = 'b'"),
    (
        "a box that drives a terminal",
        "UPDATE boxes SET name = char(27) || ']0;owned' || char(7) || char(10) || 'x' WHERE name = 'b'",
    ),
    ("no sha1", "UPDATE entries SET sha1 = NULL"),
    ("a short sha1", "UPDATE entries SET sha1 = x'00'"),
    ("half a version", "UPDATE entries SET version = x'00ff'"),
    ("a type that is none", "UPDATE entries SET ftype = 77"),
    ("a negative size", "UPDATE entries SET size = -9223372036854775808"),
    ("a stamp from the end of time", "UPDATE entries SET stamp = x'ffffffffffffffffffffffff'"),
    ("extra fields that are known ones", r#"UPDATE entries SET extra = '{"path":"/../x","_id":"y","size":-1}'"#),
    ("a document that is no JSON", "UPDATE documents SET json = '[[[' WHERE id = 'b'"),
];
