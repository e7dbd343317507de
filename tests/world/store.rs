//! Indexes in memory, used again from world to world: making their tables and preparing their statements
//! would take half of the time.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use litter::index::sqlite::Sqlite;

/// As many as a world has; copies of indexes come back too, and would else pile up.
const ROOM: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Sqlite>> = const { RefCell::new(Vec::new()) };
}

/// An index that goes back to the pool when nobody needs it.
#[derive(Debug)]
pub struct Store(Option<Sqlite>);

impl Store {
    /// An empty index.
    pub fn new() -> Self {
        let used = POOL.with_borrow_mut(Vec::pop);
        let emptied = used.map(|mut index| {
            index.empty().unwrap();
            index
        });
        Self(Some(emptied.unwrap_or_else(|| Sqlite::in_memory().unwrap())))
    }

    /// See [`Sqlite::copy_in_memory`].
    pub fn copy_of(index: &Sqlite, as_it_is: bool) -> Self {
        Self(Some(index.copy_in_memory(as_it_is).unwrap()))
    }
}

impl Deref for Store {
    type Target = Sqlite;

    fn deref(&self) -> &Sqlite {
        self.0.as_ref().unwrap()
    }
}

impl DerefMut for Store {
    fn deref_mut(&mut self) -> &mut Sqlite {
        self.0.as_mut().unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(index) = self.0.take() {
            // while the thread ends there is no pool
            let _ = POOL.try_with(|pool| {
                let mut pool = pool.borrow_mut();
                if pool.len() < ROOM {
                    pool.push(index);
                }
            });
        }
    }
}
