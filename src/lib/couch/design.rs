//! What `ltr init` makes of a database: who may read it, and the design document for tools that ask CouchDB
//! itself. Ltr uses neither the views nor code that comes from a database: whoever may write there could
//! change them.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::client::{Client, Kind, Patience, body, kind_of};
use super::link::{look, mark};
use super::places::Places;
use super::url::Database;

const ID: &str = "_design/ltr";

/// The boxes of the space.
const BOXES: &str = "function (doc) {
  if (doc.type === 'box') {
    emit(doc._id, {policy: doc.policy, urls: doc.urls, forgotten: doc.forgotten === true});
  }
}";

/// Where a content is; reduced, how many copies there are.
const BY_SHA1: &str = "function (doc) {
  if (doc.type === 'entry' && doc.present === true && doc.purged !== true && doc.sha1) {
    emit(doc.sha1, {box: doc.box, path: doc.path, size: doc.size});
  }
}";

/// What the boxes have at a path.
const BY_PATH: &str = "function (doc) {
  if (doc.type === 'entry') {
    emit(doc.path, {box: doc.box, present: doc.present, sha1: doc.sha1, size: doc.size, mtime: doc.mtime});
  }
}";

/// Refuses malformed documents of ltr's types, and older ones; ECMAScript 5, as CouchDB 2 runs it.
const VALIDATE: &str = "function (newDoc, oldDoc, userCtx, secObj) {
  var stamp = /^[0-9a-f]{12}-[0-9a-f]{4}-[0-9a-f]{8}$/;
  var name = /^[A-Za-z0-9][A-Za-z0-9._@+\\-]*$/;
  function refuse(why) {
    throw({forbidden: 'ltr: ' + newDoc._id + ': ' + why});
  }
  function is(value, type) {
    return typeof value === type;
  }
  if (newDoc._deleted === true || newDoc._id.charAt(0) === '_') {
    return;
  }
  var type = newDoc.type;
  if (type !== 'space' && type !== 'box' && type !== 'entry' && type !== 'mark') {
    return;
  }
  if (!is(newDoc.stamp, 'string') || !stamp.test(newDoc.stamp)) {
    refuse('no stamp');
  }
  if (type === 'space' && (newDoc._id !== 'space' || !is(newDoc.uuid, 'string'))) {
    refuse('a space has the key space, and a uuid');
  }
  if (type === 'box' && (newDoc._id === 'space' || !name.test(newDoc._id))) {
    refuse('not the name of a box');
  }
  if (type === 'entry' || type === 'mark') {
    var prefix = type === 'mark' ? 'mark:' : '';
    if (!is(newDoc.box, 'string') || !name.test(newDoc.box) || !is(newDoc.path, 'string') || newDoc.path.charAt(0) !== '/') {
      refuse('it has a box and a path');
    }
    if (newDoc._id !== prefix + newDoc.box + ':' + newDoc.path) {
      refuse('its key is ' + prefix + 'box:path');
    }
  }
  if (type === 'entry') {
    if (['file', 'dir', 'symlink'].indexOf(newDoc.ftype) < 0 || !is(newDoc.present, 'boolean') ||
        newDoc.version === null || !is(newDoc.version, 'object')) {
      refuse('an entry has ftype, present and version');
    }
    if (newDoc.ftype !== 'dir' && (!is(newDoc.sha1, 'string') || !/^[0-9a-f]{40}$/.test(newDoc.sha1))) {
      refuse('an entry of a file or symlink has a sha1');
    }
  }
  if (type === 'mark' && ['want', 'skip', 'cleared'].indexOf(newDoc.want) < 0) {
    refuse('a mark is want, skip or cleared');
  }
  if (oldDoc && oldDoc._deleted !== true && oldDoc.type === type && is(oldDoc.stamp, 'string') &&
      stamp.test(oldDoc.stamp) && newDoc.stamp < oldDoc.stamp) {
    refuse('older than what is here');
  }
}";

/// The design document.
#[must_use]
pub fn design() -> Value {
    json!({
        "_id": ID,
        "language": "javascript",
        "views": {
            "boxes": {"map": BOXES},
            "by-sha1": {"map": BY_SHA1, "reduce": "_count"},
            "by-path": {"map": BY_PATH},
        },
        "validate_doc_update": VALIDATE,
    })
}

/// What [`init`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// There was no database.
    pub created: bool,
    /// The design document was missing, or another.
    pub designed: bool,
}

/// Makes the database, for its user alone, and the design document. What is there already stays.
///
/// # Errors
/// The server does not answer, or refuses.
pub fn init(places: &Places, database: &Database) -> Result<Made> {
    let client = Client::new(places, database)?;
    let patience = Patience::Patient;
    let created = match look(&client, patience) {
        Ok(_) => false,
        Err(error) if kind_of(&error) == Some(Kind::Missing) => match client.ask(&Method::PUT, "", None, patience) {
            Ok(_) => true,
            // somebody else made it at the same time
            Err(error) if look(&client, patience).is_err() => return Err(error),
            Err(_) => false,
        },
        Err(error) => return Err(error),
    };
    secure(&client)?;
    let designed = push_design(&client)?;
    mark(&client, patience)?;
    Ok(Made { created, designed })
}

/// Lets nobody but the user in, where nobody has said anything else: also what a killed `init` left.
fn secure(client: &Client) -> Result<()> {
    let Some((user, _)) = client.login() else { return Ok(()) };
    let old = client.ask(&Method::GET, "_security", None, Patience::Patient)?;
    let list = |who: &str, what: &str| {
        let all = old.get(who).and_then(|w| w.get(what)).and_then(Value::as_array);
        all.into_iter().flatten().filter_map(Value::as_str).filter(|name| *name != "_admin").count()
    };
    if ["admins", "members"].iter().any(|who| list(who, "names") + list(who, "roles") > 0) {
        return Ok(());
    }
    let only = json!({"names": [user], "roles": []});
    let text = body(&json!({"admins": only, "members": only}))?;
    client.ask(&Method::PUT, "_security", Some(&text), Patience::Patient)?;
    Ok(())
}

/// Returns whether there was anything to do.
fn push_design(client: &Client) -> Result<bool> {
    let old: Map<String, Value> = match client.ask(&Method::GET, ID, None, Patience::Patient) {
        Ok(Value::Object(old)) => old,
        Ok(_) => bail!("{}: {ID} is no document", client.database()),
        Err(error) if kind_of(&error) == Some(Kind::Missing) => Map::new(),
        Err(error) => return Err(error),
    };
    let mut new = design();
    let rev = old.get("_rev").cloned();
    if let (Some(rev), Value::Object(map)) = (rev, &mut new) {
        map.insert("_rev".to_owned(), rev);
    }
    if Value::Object(old) == new {
        return Ok(false);
    }
    client.ask(&Method::PUT, ID, Some(&body(&new)?), Patience::Patient)?;
    Ok(true)
}
