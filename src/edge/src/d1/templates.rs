//! The SQL of templates and types.

use dormouse_domain::notification::NotificationType;
use dormouse_domain::template::{
    Found, FoundTemplate, Lookup, Template, TemplateKey, TemplateVersion, Version,
};
use dormouse_domain::time::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use wasm_bindgen::JsValue;
use worker::{D1Result, Result};

use super::{Database, corrupt, from_number, missing, timestamp};

/// What became of something that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It was not there before.
    New,
    /// It was.
    Known,
}

/// What became of something that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deleted {
    /// It is gone.
    Deleted,
    /// It was not there.
    NotThere,
}

/// A new version, unless the latest says the same. The number is found where it is taken, so that of two
/// at the same time each gets its own.
const ADD_VERSION: &str = "
INSERT INTO templates (key, version, body, created_at)
SELECT ?1, COALESCE((SELECT MAX(version) FROM templates WHERE key = ?1), 0) + 1, ?2, ?3
WHERE ?2 IS NOT (SELECT body FROM templates WHERE key = ?1 ORDER BY version DESC LIMIT 1)
RETURNING version";

/// The version ?2 of a template, or its latest; `latest` is null when there is no such template.
const READ_TEMPLATE: &str = "
SELECT latest.version AS latest, t.version, t.body, t.created_at
FROM (SELECT MAX(version) AS version FROM templates WHERE key = ?1 AND body IS NOT NULL) AS latest
LEFT JOIN templates AS t ON t.key = ?1 AND t.version = COALESCE(?2, latest.version) AND t.body IS NOT NULL";

/// The highest version gives up its body, and the others go. Only a template that is there has a highest
/// version with a body.
const EMPTY_LATEST: &str = "
UPDATE templates SET body = NULL
WHERE key = ?1 AND version = (SELECT MAX(version) FROM templates WHERE key = ?1) AND body IS NOT NULL
RETURNING version";
const DELETE_OTHERS: &str = "DELETE FROM templates WHERE key = ?1 AND body IS NOT NULL";

/// The type ?3, or else that of the template.
const READ_TYPE: &str = "
SELECT id, name, icon, color FROM types
WHERE id = COALESCE(?3, (
  SELECT body ->> '$.template.type' FROM templates
  WHERE key = ?1 AND version = COALESCE(?2, (SELECT MAX(version) FROM templates WHERE key = ?1))))";

const FIND_TYPE: &str = "SELECT 1 FROM types WHERE id = ?1";
const WRITE_TYPE: &str = "
INSERT INTO types (id, name, icon, color, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (id) DO UPDATE SET
  name = excluded.name, icon = excluded.icon, color = excluded.color, updated_at = excluded.updated_at";

#[derive(Deserialize)]
struct TemplateRow {
    latest: Option<Version>,
    version: Option<Version>,
    body: Option<String>,
    created_at: Option<f64>,
}

impl Database {
    /// Stores `template` as the latest version of `key`, unless the latest says the same. Gives the latest.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn put_template(
        &self,
        key: &TemplateKey,
        template: &Template,
        now: Timestamp,
    ) -> Result<(TemplateVersion, Put)> {
        let name = JsValue::from(key.as_str());
        let add = [name.clone(), JsValue::from(template.store()?), timestamp(now)];
        let read = [name, JsValue::NULL];
        let statements = vec![
            self.statement(ADD_VERSION, &add)?,
            self.statement(READ_TEMPLATE, &read)?,
        ];
        let results = self.batch(statements).await?;
        let [added, latest] = results.as_slice() else {
            return Err(missing("the template"));
        };
        match found_template(key, latest)? {
            FoundTemplate::Version(version) => {
                Ok((*version, if is_empty(added)? { Put::Known } else { Put::New }))
            }
            FoundTemplate::NoSuchKey | FoundTemplate::NoSuchVersion => Err(missing("the template")),
        }
    }

    /// A version of a template, the latest unless one is named.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn template(
        &self,
        key: &TemplateKey,
        version: Option<Version>,
    ) -> Result<FoundTemplate> {
        let bound = [JsValue::from(key.as_str()), version_value(version)];
        found_template(key, &self.one(READ_TEMPLATE, &bound).await?)
    }

    /// Deletes every version of a template.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn delete_template(&self, key: &TemplateKey) -> Result<Deleted> {
        let bound = [JsValue::from(key.as_str())];
        let statements = vec![
            self.statement(EMPTY_LATEST, &bound)?,
            self.statement(DELETE_OTHERS, &bound)?,
        ];
        let results = self.batch(statements).await?;
        let emptied = results.first().ok_or_else(|| missing("an answer"))?;
        Ok(if is_empty(emptied)? {
            Deleted::NotThere
        } else {
            Deleted::Deleted
        })
    }

    /// Stores a type, in place of one with its id.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn put_type(&self, kind: &NotificationType, now: Timestamp) -> Result<Put> {
        let id = JsValue::from(&kind.id);
        let text = |text: &Option<String>| text.as_ref().map_or(JsValue::NULL, JsValue::from);
        let row = [
            id.clone(),
            JsValue::from(&kind.name),
            text(&kind.icon),
            text(&kind.color),
            timestamp(now),
        ];
        let statements = vec![
            self.statement(FIND_TYPE, &[id])?,
            self.statement(WRITE_TYPE, &row)?,
        ];
        let results = self.batch(statements).await?;
        let before = results.first().ok_or_else(|| missing("an answer"))?;
        Ok(if is_empty(before)? { Put::New } else { Put::Known })
    }

    /// Looks up what requests name, all of it at once: templates and types.
    ///
    /// # Errors
    /// When the record could not be read; never "not found" instead.
    pub(crate) async fn look_up(&self, lookups: &[Lookup<'_>]) -> Result<Vec<Found>> {
        if lookups.is_empty() {
            return Ok(Vec::new());
        }
        let mut statements = Vec::with_capacity(lookups.len().saturating_mul(2));
        for lookup in lookups {
            let kind = lookup.kind.map_or(JsValue::NULL, |id| JsValue::from(id.as_str()));
            let (key, version) = lookup.template.unzip();
            let named = [
                key.map_or(JsValue::NULL, |key| JsValue::from(key.as_str())),
                version_value(version.flatten()),
            ];
            statements.push(self.statement(READ_TEMPLATE, &named)?);
            statements.push(self.statement(READ_TYPE, &[named.as_slice(), &[kind]].concat())?);
        }
        let results = self.batch(statements).await?;
        let mut found = Vec::with_capacity(lookups.len());
        for (lookup, results) in lookups.iter().zip(results.chunks(2)) {
            let [template, kind] = results else {
                return Err(missing("what was looked up"));
            };
            found.push(Found {
                template: match lookup.template {
                    Some((key, _)) => found_template(key, template)?,
                    None => FoundTemplate::NoSuchKey,
                },
                kind: first(kind)?,
            });
        }
        if found.len() == lookups.len() {
            Ok(found)
        } else {
            Err(missing("what was looked up"))
        }
    }
}

fn found_template(key: &TemplateKey, result: &D1Result) -> Result<FoundTemplate> {
    let row: TemplateRow = first(result)?.ok_or_else(|| missing("a template's row"))?;
    Ok(match (row.latest, row.version, row.body, row.created_at) {
        (None, ..) => FoundTemplate::NoSuchKey,
        (Some(_), Some(version), Some(body), Some(created_at)) => {
            FoundTemplate::Version(Box::new(TemplateVersion {
                key: key.clone(),
                version,
                template: Template::load(&body).map_err(corrupt)?,
                created_at: from_number(created_at),
            }))
        }
        (Some(_), ..) => FoundTemplate::NoSuchVersion,
    })
}

fn first<T: for<'de> Deserialize<'de>>(result: &D1Result) -> Result<Option<T>> {
    Ok(result.results()?.into_iter().next())
}

fn is_empty(result: &D1Result) -> Result<bool> {
    Ok(first::<IgnoredAny>(result)?.is_none())
}

fn version_value(version: Option<Version>) -> JsValue {
    version.map_or(JsValue::NULL, |version| JsValue::from(version.get()))
}
