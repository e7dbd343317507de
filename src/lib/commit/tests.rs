use std::io::{Seek, Write};

use super::*;

/// What a record on file says of something that is gone, however it is written.
#[test]
fn what_is_gone_is_known_from_the_start() {
    for (change, size, folders) in [
        (r#""gone""#, Some(7), false),
        (r#""g\u006fne""#, Some(7), false),
        (r#""new""#, None, false),
        (r#""new","was":{"ftype":"dir","size":0,"mode":"0755"},"note":"gone""#, None, false),
    ] {
        let mut file = tempfile::tempfile().unwrap();
        let record = format!(r#"{{"type":"scan","path":"/a","ftype":"file","size":7,"change":{change}}}"#);
        writeln!(file, "{record}\n{{\"type\":\"end\",\"count\":1,\"errors\":0}}").unwrap();
        file.rewind().unwrap();
        let found = Candidates::read(file).unwrap();
        assert_eq!((found.sizes.iter().next().copied(), found.folders), (size, folders), "{change}");
    }
}
