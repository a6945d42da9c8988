//! Decides whether the plans of a phase's statements prove what it writes, so that no transaction has to read its locks.
//!
//! A plan names the relations that it modifies. That is all that is written, if nothing else can run: no trigger,
//! rule or child of a modified relation, and no code but the server's own behind any function, operator, cast, type,
//! default, check or index expression in reach.
//!
//! **Invariant:** words are looked up, not understood: a word that might be a function, view or type of somebody
//! counts as one. What is unclear is not proven.
//!
//! **What can go wrong:** the proof holds for the database as it was looked at. `append` refuses triggers, rules and
//! children that appeared since; a default or check that was changed since is seen at the next start of the process.

use std::collections::BTreeSet;

use redress::adapter::Coverage;
use redress::phase_tx::{PhaseTx, TxError};

use super::lexer::Tokens;
use super::plan::Plan;

const MODIFIED_RELATIONS: &str = include_str!("../../statements/modified_relations.sql");
const HIDDEN_EXPRESSIONS: &str = include_str!("../../statements/hidden_expressions.sql");
const PROOF_OBSTACLES: &str = include_str!("../../statements/proof_obstacles.sql");

/// Operators that stand behind keywords: `in`, `between`, `like`, `distinct`, `case x when`, `using`, `order by`.
const KEYWORD_OPERATORS: [&str; 14] = [
    "=", "<>", "<", "<=", ">", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*",
];
/// Domains over domains are followed so far; beyond that nothing is proven.
const ROUNDS_MAX: usize = 4;

/// A relation that a plan modifies, as the catalogue has it.
#[derive(Clone, Debug)]
pub(crate) struct Modified {
    /// `schema.name`.
    pub name: String,
    /// The root of the partitions, when it is one of them; the same name otherwise.
    pub root: Option<String>,
    pub oid: Option<u32>,
    pub temporary: bool,
}

impl Modified {
    /// Whether a phase that declares `writes` may modify it.
    pub(crate) fn is_declared(&self, writes: &[String]) -> bool {
        self.temporary
            || writes.contains(&self.name)
            || self.root.as_ref().is_some_and(|root| writes.contains(root))
    }
}

/// Looks up what plans modify.
pub(crate) async fn modified(tx: &PhaseTx<'_>, plan: &Plan) -> Result<Vec<Modified>, TxError> {
    if plan.modified.is_empty() {
        return Ok(Vec::new());
    }
    let (schemas, names): (Vec<&str>, Vec<&str>) = plan
        .modified
        .iter()
        .map(|(s, n)| (s.as_str(), n.as_str()))
        .unzip();
    let mut all = Vec::new();
    for row in tx.query(MODIFIED_RELATIONS, &[&schemas, &names]).await? {
        all.push(Modified {
            name: row.try_get(0)?,
            oid: row.try_get(1)?,
            root: row.try_get(2)?,
            temporary: row.try_get(3)?,
        });
    }
    Ok(all)
}

/// The statements of a phase that write, as far as they have been looked at.
#[derive(Debug, Default)]
pub(crate) struct Case {
    texts: Vec<String>,
    oids: BTreeSet<u32>,
    unclear: Option<String>,
}

impl Case {
    /// Adds one statement.
    pub(crate) fn add(&mut self, sql: &str, plan: &Plan, modified: &[Modified]) {
        if !plan.planned {
            self.doubt("a statement has no plan");
        }
        let tokens = Tokens::read(sql);
        for (schema, name) in &plan.modified {
            // A bare name may mean another relation tomorrow.
            if !tokens.has_qualified(schema, name) {
                self.doubt(&format!(
                    "a modified relation is not written as {schema}.{name}"
                ));
            }
        }
        for relation in modified {
            match relation.oid {
                Some(oid) => _ = self.oids.insert(oid),
                None => self.doubt("a modified relation is not in the catalogue"),
            }
        }
        self.texts.push(sql.to_owned());
    }

    fn doubt(&mut self, why: &str) {
        self.unclear.get_or_insert_with(|| why.to_owned());
    }

    /// Asks the catalogue whether anything but the plans could write.
    pub(crate) async fn judge(mut self, tx: &PhaseTx<'_>) -> Result<Coverage, TxError> {
        let oids: Vec<u32> = self.oids.iter().copied().collect();
        let mut words = Words::default();
        for text in &self.texts {
            words.add(text);
        }
        for round in 0.. {
            if words.unclear || round > ROUNDS_MAX {
                self.doubt("a text is not clear");
            }
            if let Some(why) = &self.unclear {
                tracing::debug!(why, "writes are not proven by plans");
                return Ok(Coverage::Locks);
            }
            let before = words.all.len();
            for row in tx
                .query(HIDDEN_EXPRESSIONS, &[&oids, &list(&words.all)])
                .await?
            {
                if let Some(text) = row.try_get::<_, Option<String>>(0)? {
                    words.add(&text);
                }
            }
            if words.all.len() == before {
                break;
            }
        }
        let operators: Vec<&str> = KEYWORD_OPERATORS
            .into_iter()
            .chain(words.operators.iter().map(String::as_str))
            .collect();
        let params = (list(&words.all), list(&words.called));
        let rows = tx
            .query(PROOF_OBSTACLES, &[&oids, &params.0, &params.1, &operators])
            .await?;
        if let Some(row) = rows.first() {
            let why: Option<String> = row.try_get(0)?;
            tracing::debug!(why, "writes are not proven by plans");
            return Ok(Coverage::Locks);
        }
        Ok(Coverage::Proven(oids))
    }
}

/// The words of several texts.
#[derive(Debug, Default)]
struct Words {
    all: BTreeSet<String>,
    called: BTreeSet<String>,
    operators: BTreeSet<String>,
    unclear: bool,
}

impl Words {
    fn add(&mut self, text: &str) {
        let tokens = Tokens::read(text);
        self.unclear |= tokens.unclear;
        tokens.words_into(&mut self.all, &mut self.called);
        self.operators.extend(tokens.operators().map(str::to_owned));
    }
}

fn list(words: &BTreeSet<String>) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
