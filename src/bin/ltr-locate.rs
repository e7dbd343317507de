//! ltr-locate [DIR] - the box around DIR

fn main() {}
