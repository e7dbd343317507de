//! The boxes of an index, and the numbers by which its rows name them.

use anyhow::Result;

use super::sqlite::Sqlite;
use crate::record::Fields;

impl Sqlite {
    /// All boxes that the index knows anything about, by name.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn boxes(&self) -> Result<Boxes> {
        let mut statement = self.connection.prepare_cached("SELECT id, name, commits FROM boxes ORDER BY name")?;
        let rows = statement.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, i64>(2)?)))?;
        let mut all = Vec::new();
        for row in rows {
            let (id, name, commits) = row?;
            let fields = self.box_fields(&name)?;
            all.push(BoxInfo { id: BoxId(id), commits: commits.unsigned_abs(), fields, name });
        }
        Ok(Boxes { all })
    }
}

/// The number of a box within one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoxId(pub i64);

/// A box as the index knows it.
#[derive(Clone, Debug)]
pub struct BoxInfo {
    /// Its number here.
    pub id: BoxId,
    /// Its name.
    pub name: String,
    /// Its commit counter, as far as the index knows.
    pub commits: u64,
    /// Its document, where one has arrived.
    pub fields: Option<Fields>,
}

impl BoxInfo {
    /// Whether its copies count no longer.
    #[must_use]
    pub fn forgotten(&self) -> bool {
        self.fields.as_ref().is_some_and(Fields::forgotten)
    }
}

/// The boxes of an index, sorted by name.
#[derive(Clone, Debug, Default)]
pub struct Boxes {
    /// All of them, forgotten ones too.
    pub all: Vec<BoxInfo>,
}

impl Boxes {
    /// The box with this number.
    #[must_use]
    pub fn by_id(&self, id: BoxId) -> Option<&BoxInfo> {
        self.all.iter().find(|b| b.id == id)
    }

    /// The box of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&BoxInfo> {
        self.all.iter().find(|b| b.name == name)
    }

    /// Whether the copies of the box with this number count.
    #[must_use]
    pub fn counts(&self, id: BoxId) -> bool {
        self.by_id(id).is_some_and(|b| !b.forgotten())
    }

    /// What decides for the box `me` at every path alike, for whoever wants to know later whether that has changed.
    #[must_use]
    pub fn rules_for(&self, me: BoxId) -> String {
        let policy = self.by_id(me).and_then(|b| b.fields.as_ref()).map(Fields::policy).unwrap_or_default();
        let forgotten: Vec<String> = self.all.iter().filter(|b| b.forgotten()).map(|b| b.id.0.to_string()).collect();
        format!("{policy:?} without {}", forgotten.join(","))
    }
}
