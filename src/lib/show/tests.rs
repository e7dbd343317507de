use super::*;
use crate::report::Collected;

fn stream(records: &[&str]) -> String {
    let errors = records.iter().filter(|r| r.contains("\"error\":")).count();
    let mut text: String = records.iter().map(|r| format!("{r}\n")).collect();
    text.push_str(&format!("{{\"type\":\"end\",\"count\":{},\"errors\":{errors}}}\n", records.len()));
    text
}

fn style(mode: Mode) -> Style {
    Style { mode, terminal: false, shared: false, nul: false, zone: TimeZone::UTC }
}

fn on_terminal(mode: Mode) -> Style {
    Style { terminal: true, ..style(mode) }
}

fn template(text: &str) -> Mode {
    Mode::Template(text.parse().unwrap())
}

const LETTERS: Mode = Mode::Letters { all: false, color: false };

/// What is written before the end, or the error.
fn show_bytes(input: &str, style: &Style) -> (Vec<u8>, Result<Exit>, Collected) {
    let (mut output, mut report) = (Vec::new(), Collected::default());
    let exit = format(input.as_bytes(), &mut output, style, &mut report);
    (output, exit, report)
}

fn show(records: &[&str], style: &Style) -> String {
    let (output, exit, _) = show_bytes(&stream(records), style);
    assert_eq!(exit.unwrap(), Exit::Done);
    String::from_utf8_lossy(&output).into_owned()
}

const A: &str = r#"{"type":"scan","path":"/a","size":2048,"mtime":0,"sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}"#;
const NEWLINE: &str = r#"{"type":"scan","path":"/x\ny\tz","size":7}"#;
const ESCAPE: &str = r#"{"type":"scan","path":"/\u001b[2J"}"#;
const INVALID: &str = r#"{"type":"scan","path":"/\\xff\\\\","size":10}"#;
const BIDI: &str = r#"{"type":"scan","path":"/\u202egpj.exe"}"#;
const UNKNOWN: &str = r#"{"type":"new in 2030","colour":{"deep":["red"]},"path":7}"#;

#[test]
fn templates_show_every_record() {
    for (text, record, shown) in [
        ("{size:h}\\t{path}", A, "2.0K\t/a\n"),
        ("{{{type}}} \\\\ {mtime:t} {sha1:4}", A, "{scan} \\ 1970-01-01 00:00 da39\n"),
        ("", A, "\n"),
        ("[{nothing}]", A, "[]\n"),
        ("{path}", NEWLINE, "/x\ny\tz\n"),
        ("{path}\\0", A, "/a\0\n"),
        ("{path} {colour.deep.0}", UNKNOWN, "7 red\n"),
    ] {
        assert_eq!(show(&[record], &style(template(text))), shown, "{text}");
    }
    let raw = show_bytes(&stream(&[INVALID, BIDI]), &style(template("{path}"))).0;
    assert_eq!(raw, b"/\xff\\\n/\xe2\x80\xaegpj.exe\n");
}

#[test]
fn a_terminal_gets_no_raw_name() {
    let hostile = [NEWLINE, ESCAPE, INVALID, BIDI];
    let shown = "$'/x\\ny\\tz'\n$'/\\x1B[2J'\n$'/\\xFF\\\\'\n$'/\\xE2\\x80\\xAEgpj.exe'\n";
    assert_eq!(show(&hostile, &on_terminal(template("{path}"))), shown);
    let nul = Style { nul: true, ..on_terminal(template("{path}")) };
    assert_eq!(show_bytes(&stream(&hostile), &nul).0, b"/x\ny\tz\0/\x1b[2J\0/\xff\\\0/\xe2\x80\xaegpj.exe\0");
    for mode in [Mode::Csv("path".parse().unwrap()), Mode::Table("path".parse().unwrap()), LETTERS] {
        let with_status: Vec<String> = hostile.iter().map(|r| r.replace("{", r#"{"status":"\u001b","#)).collect();
        let records: Vec<&str> = with_status.iter().map(String::as_str).collect();
        let text = show(&records, &on_terminal(mode));
        assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\r'), "{text:?}");
        assert!(text.contains("gpj.exe") && !text.contains('\u{202e}'), "{text:?}");
    }
}

#[test]
fn csv_is_as_rfc_4180_says() {
    let csv = |fields: &str| style(Mode::Csv(fields.parse().unwrap()));
    assert_eq!(show(&[], &csv("path,size")), "path,size\r\n");
    let quote = r#"{"type":"scan","path":"/a,\"b\""}"#;
    assert_eq!(
        show(&[A, NEWLINE, quote, UNKNOWN], &csv("path,size:h,local.ino")),
        "path,size,local.ino\r\n/a,2.0K,\r\n\"/x\ny\tz\",7,\r\n\"/a,\"\"b\"\"\",,\r\n7,,\r\n"
    );
    assert_eq!(show_bytes(&stream(&[INVALID]), &csv("path")).0, b"path\r\n/\xff\\\r\n");
    assert_eq!(show(&[A], &csv("x")), "x\r\n\"\"\r\n");
}

#[test]
fn tables_are_aligned_and_a_row_is_a_line() {
    let table = |fields: &str| style(Mode::Table(fields.parse().unwrap()));
    assert_eq!(show(&[], &table("path,size")), "path  size\n");
    assert_eq!(
        show(&[A, NEWLINE, UNKNOWN], &table("path,size,sha1:4")),
        "path         size  sha1\n/a           2048  da39\n$'/x\\ny\\tz'     7  \n7                  \n"
    );
    assert_eq!(show(&[A, A], &table("path")), "path\n/a\n/a\n");
    let many = vec![A; 10_000];
    let text = show(&many, &table("size,path"));
    assert_eq!(text.lines().count(), 10_001);
    assert!(text.lines().skip(1).all(|line| line == "2048  /a"));
}

#[test]
fn letters_stand_before_paths() {
    let all = Mode::Letters { all: true, color: false };
    let records = [
        r#"{"type":"scan","status":"N","path":"/subdir1/a.tgz","ftype":"file"}"#,
        r#"{"type":"scan","status":"C","path":"/same","ftype":"file"}"#,
        r#"{"type":"scan","status":"w","path":"/films","ftype":"dir","whole":true}"#,
        r#"{"type":"put","status":"R","path":"/new","renamed":"/old","ftype":"file"}"#,
        r#"{"type":"put","path":"/silent"}"#,
        r#"{"type":"put","status":null,"path":"/silent"}"#,
        r#"{"type":"entry","path":"/d","local":{"status":"R","renamed":"/o\\xff"}}"#,
        r#"{"type":"entry","path":"/silent","local":{"ino":1}}"#,
        r#"{"type":"tag","status":"N","path":"/silent"}"#,
    ];
    let shown = "N  /subdir1/a.tgz\nw  /films\nR  /old -> /new\nR  /o\u{fffd} -> /d\n";
    assert_eq!(show(&records, &style(LETTERS)), shown);
    assert!(show(&records, &style(all)).contains("\nC  /same\n"));
    let shown = "N  /subdir1/a.tgz\nw  /films\nR  /old -> /new\nR  $'/o\\xFF' -> /d\n";
    assert_eq!(show(&records, &on_terminal(LETTERS)), shown);
    let color = on_terminal(Mode::Letters { all: true, color: true });
    let shown = "\x1b[32mN\x1b[m  /subdir1/a.tgz\nC  /same\n\x1b[36mw\x1b[m  /films\n";
    assert!(show(&records, &color).starts_with(shown));
    let nul = Style { nul: true, ..style(LETTERS) };
    assert_eq!(show(&records[..1], &nul), "N  /subdir1/a.tgz\0");
}

fn action(fields: &str) -> String {
    let sha1 = if fields.contains("\"dir\"") { "" } else { r#""sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709","# };
    let ftype = if fields.contains("ftype") { "" } else { r#""ftype":"file","# };
    format!(r#"{{"type":"action","box":"b","path":"/d/a","version":{{"1f2e3d4c":3}},{sha1}{ftype}{fields}}}"#)
}

#[test]
fn steps_are_the_commands_for_them() {
    let steps = Mode::Steps { root: "/home/me/box".into() };
    let from = |url: &str| format!(r#""from":[{{"box":"m","url":"{url}","path":"/s"}}]"#);
    for (fields, shown) in [
        (r#""action":"mkdir","ftype":"dir""#.into(), "mkdir DST\n"),
        (r#""action":"replace","ftype":"dir""#.into(), "mkdir DST\n"),
        (r#""action":"copy","source":"/s""#.into(), "cp /home/me/box/s DST\n"),
        (r#""action":"move","source":"/s""#.into(), "mv /home/me/box/s DST\n"),
        (r#""action":"touch""#.into(), "touch DST\n"),
        (r#""action":"remove""#.into(), "rm DST\n"),
        (r#""action":"link","ftype":"symlink","target":"../t""#.into(), "ln -s ../t DST\n"),
        (r#""action":"replace","ftype":"symlink","target":"t""#.into(), "ln -s t DST\n"),
        (format!(r#""action":"fetch",{}"#, from("/mnt/m")), "cp /mnt/m/s DST\n"),
        (format!(r#""action":"fetch",{}"#, from("/")), "cp /s DST\n"),
        (format!(r#""action":"fetch",{}"#, from("t@m:/h/x")), "scp sftp://t@m/h/x/s DST\n"),
        (format!(r#""action":"fetch",{}"#, from("ssh://t@m:22/h/x")), "scp sftp://t@m:22/h/x/s DST\n"),
        (format!(r#""action":"fetch",{}"#, from("sftp://m:22/it%27s%20100%25")), "scp sftp://m:22/it%27s%20100%25/s DST\n"),
        (format!(r#""action":"fetch","via":"rsync",{}"#, from("t@m:/h/x")), "rsync t@m:/h/x/s DST\n"),
        (format!(r#""action":"fetch","via":"rsync",{}"#, from("/mnt/m")), "cp /mnt/m/s DST\n"),
        (format!(r#""action":"replace",{}"#, from("m:/")), "scp sftp://m/s DST\n"),
        (r#""action":"replace","source":"/s""#.into(), "cp /home/me/box/s DST\n"),
        (r#""action":"fetch""#.into(), "fetch DST\n"),
        (format!(r#""action":"fetch",{}"#, from("")), "fetch m:/s DST\n"),
        (format!(r#""action":"fetch",{}"#, from(":/a")), "fetch m:/s DST\n"),
        (format!(r#""action":"fetch",{}"#, from("-oX:/a")), "fetch m:/s DST\n"),
        (format!(r#""action":"fetch",{}"#, from("/home/x:/y")), "cp /home/x:/y/s DST\n"),
        (format!(r#""action":"fetch",{}"#, from("file:///mnt/m")), "cp /mnt/m/s DST\n"),
        (format!(r#""action":"fetch","via":"scp",{}"#, from("t@[::1]:/")), "scp sftp://t@[::1]/s DST\n"),
        (format!(r#""action":"fetch","via":"ssh",{}"#, from("t@m:/x")), "ssh t@m:/x/s DST\n"),
        (format!(r#""action":"copy","source":"/o","used":0,{}"#, from("/m")), "cp /m/s DST\n"),
        (format!(r#""action":"conflict","keep":"/k",{}"#, from("/m")), "mv DST /home/me/box/k\ncp /m/s DST\n"),
        (format!(r#""action":"fetch","used":7,{}"#, from("/m")), "cp /m/s DST\n"),
        (
            r#""action":"fetch","used":1,"from":[{"box":"m","url":"/m","path":"/s"},{"box":"n","url":"/n","path":"/s"}]"#.into(),
            "cp /n/s DST\n",
        ),
    ] {
        let record = action(&fields);
        let shown = shown.replace("DST", "/home/me/box/d/a");
        assert_eq!(show(&[&record], &style(steps.clone())), shown, "{fields}");
        let done = record.replace(r#""type":"action""#, r#""type":"done""#);
        assert_eq!(show(&[&done, UNKNOWN, A], &style(steps.clone())), shown, "{fields}");
    }
    let hostile = action(r#""action":"fetch","from":[{"box":"m","url":"m:/h\u001b x","path":"/s\\xff"}]"#);
    let shown = "scp sftp://m/h%1B%20x/s%FF /home/me/box/d/a\n";
    assert_eq!(show(&[&hostile], &on_terminal(steps)), shown);
}

#[test]
fn the_progress_of_another_program_is_wiped_off_the_line() {
    let mkdir = action(r#""action":"mkdir","ftype":"dir""#);
    let shared = |mode: Mode| Style { shared: true, ..on_terminal(mode) };
    let steps = Mode::Steps { root: "/r".into() };
    assert_eq!(show(&[&mkdir], &shared(steps.clone())), "\r\x1b[Kmkdir /r/d/a\n");
    assert_eq!(show(&[&mkdir], &Style { nul: true, ..shared(steps) }), "mkdir /r/d/a\0");
    assert_eq!(show(&[A], &shared(template("{path}"))), show(&[A], &on_terminal(template("{path}"))));
}

#[test]
fn a_step_that_no_plan_contains_is_refused() {
    let steps = style(Mode::Steps { root: "/r".into() });
    for record in [action(r#""action":"move""#), action(r#""action":"explode""#), action(r#""action":"conflict""#)] {
        let (output, exit, _) = show_bytes(&stream(&[&record]), &steps);
        assert!(output.is_empty() && exit.unwrap_err().to_string().contains("line 1 is no usable action record"));
    }
}

#[test]
fn what_could_not_be_read_is_reported() {
    let error = r#"{"type":"error","path":"/dir","error":"Permission denied (os error 13)"}"#;
    for mode in [template("{path}"), Mode::Csv("path".parse().unwrap()), Mode::Table("path".parse().unwrap())] {
        let (output, exit, report) = show_bytes(&stream(&[A, error, A]), &style(mode));
        assert_eq!(exit.unwrap(), Exit::Part);
        assert_eq!(report.failures, [("/dir".to_owned(), "Permission denied (os error 13)".to_owned())]);
        assert_eq!(String::from_utf8(output).unwrap().matches("/a").count(), 2);
    }
}

#[test]
fn a_cut_stream_is_shown_as_far_as_it_came_and_is_an_error() {
    let status = r#"{"type":"scan","status":"N","path":"/a"}"#;
    let step = action(r#""action":"touch""#);
    for mode in [
        template("{path}"),
        Mode::Csv("path".parse().unwrap()),
        Mode::Table("path".parse().unwrap()),
        LETTERS,
        Mode::Steps { root: "/r".into() },
    ] {
        let whole = stream(&[status, &step]);
        let cut = &whole[..whole.find("{\"type\":\"end\"").unwrap()];
        let (output, exit, _) = show_bytes(cut, &style(mode.clone()));
        assert!(exit.unwrap_err().to_string().contains("no trailer"), "{mode:?}");
        let (expected, exit, _) = show_bytes(&whole, &style(mode.clone()));
        assert_eq!((exit.unwrap(), &output), (Exit::Done, &expected), "{mode:?}");
        assert!(!output.is_empty());
        let (_, exit, _) = show_bytes(&whole[..cut.len() - 3], &style(mode));
        assert!(exit.is_err());
    }
}

#[test]
fn a_closed_pipe_is_known_as_one() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let many = vec![A; 5000];
    for mode in [template("{path}"), Mode::Csv("path".parse().unwrap()), Mode::Table("path".parse().unwrap())] {
        let error = format(stream(&many).as_bytes(), Closed, &style(mode), &mut Collected::default()).unwrap_err();
        let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        assert_eq!(io, Some(std::io::ErrorKind::BrokenPipe));
    }
}
