//! How often each thing was done and each outcome was met: a soak proves nothing of what never happened.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::system::Told;

thread_local! {
    static MINE: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
}

static ALL: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// It happened once more.
pub fn count(what: &str) {
    MINE.with_borrow_mut(|mine| match mine.get_mut(what) {
        Some(times) => *times += 1,
        None => drop(mine.insert(what.to_owned(), 1)),
    });
}

/// What a command told, without the names in it.
pub fn told(command: &str, told: &Told) {
    for (letter, text) in &told.letters {
        match letter.as_str() {
            "!" => count(&format!("{command} notes {}", kind(text))),
            _ => count(&format!("{command} {letter}")),
        }
    }
    for step in &told.steps {
        count(&format!("{command} {}", step.split(' ').next().unwrap_or_default()));
    }
    for failure in &told.failures {
        count(&format!("{command} fails {}", kind(failure)));
    }
    if let Some(why) = &told.refused {
        count(&format!("{command} refused {}", kind(why)));
    }
}

/// A message without what it is about: names and numbers.
fn kind(text: &str) -> String {
    let about = |word: &&str| !word.contains(['/', '(', ')']) && !word.chars().any(|c| c.is_ascii_digit());
    text.split(' ').filter(about).take(8).collect::<Vec<_>>().join(" ")
}

/// Adds what this thread has counted to what all have.
pub fn hand_in() {
    let mine = MINE.take();
    let mut all = ALL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (what, times) in mine {
        *all.entry(what).or_default() += times;
    }
}

/// Which of these never happened.
pub fn missing(all: impl Iterator<Item = String>) -> Vec<String> {
    let counted = ALL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    all.filter(|what| !counted.contains_key(what)).collect()
}

/// A line for each.
pub fn lines() -> String {
    let all = ALL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    all.iter().map(|(what, times)| format!("{times:>9} {what}\n")).collect()
}
