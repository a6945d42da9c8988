//! Puts values for the terms of a `with`: what the phase declares, and the job that it asks for.
//!
//! **Invariant:** a pointer to nothing is refused, except where nothing is an answer: nobody forces, no dry run.

use std::collections::BTreeMap;

use jiff::Timestamp;
use redress::pointer::Pointer;
use serde_json::Value;
use uuid::Uuid;

use super::book::{Job, Wanted};
use super::error::PostingsError;
use super::facts::FactChange;
use super::format::Posting;
use super::keys::Keys;
use super::value::{Address, Key, Words, shown};
use super::with::{self, Facts, Many, Switch, Term, With};

/// The context of a run.
#[derive(Clone, Copy)]
pub(super) struct Scope<'c>(pub &'c Value);

/// A transaction that is to be reversed, before it is known what it moved.
pub(super) struct Asked {
    pub transaction: Option<Uuid>,
    /// The note and the record.
    pub receipt: Option<(String, String)>,
    /// The reversal, without its postings.
    pub wanted: Wanted,
    /// It counts when the transaction counts that it reverses.
    pub at_original: bool,
}

/// The words for a time that is not written out.
pub(super) const ORIGINAL: &str = "original";
pub(super) const NOW: &str = "now";

impl Scope<'_> {
    fn at(&self, pointer: &Pointer) -> Result<&Value, PostingsError> {
        pointer
            .resolve(self.0)
            .ok_or_else(|| PostingsError::Pointer(pointer.to_string()))
    }

    /// A text, exactly.
    fn text(&self, term: &Term) -> Result<String, PostingsError> {
        match term {
            Term::Text(text) => Ok(text.clone()),
            Term::At(pointer) => as_text(self.at(pointer)?, pointer),
        }
    }

    fn parsed<T: std::str::FromStr<Err = PostingsError>>(
        &self,
        term: &Term,
    ) -> Result<T, PostingsError> {
        self.text(term)?.parse()
    }

    /// What a phase declares.
    pub fn keys(&self, with: &With) -> Result<Keys, PostingsError> {
        let texts = |terms: &[Term]| -> Result<Vec<String>, PostingsError> {
            let mut texts = Vec::with_capacity(terms.len());
            for term in terms {
                match term {
                    // A pattern that came with the input would declare whatever the input likes.
                    Term::At(pointer) => match self.at(pointer)? {
                        Value::Array(items) => {
                            for item in items {
                                texts.push(plain_name(as_text(item, pointer)?)?);
                            }
                        }
                        value => texts.push(plain_name(as_text(value, pointer)?)?),
                    },
                    Term::Text(text) => texts.push(text.clone()),
                }
            }
            Ok(texts)
        };
        let (accounts, keys) = (texts(&with.accounts)?, texts(&with.keys)?);
        Ok(Keys::new(
            accounts.iter().map(String::as_str),
            keys.iter().map(String::as_str),
        ))
    }

    /// The job of a phase, and what it reverses.
    pub fn job(&self, with: &With) -> Result<(Job, Vec<Asked>), PostingsError> {
        let mut job = Job {
            mode: with.mode,
            ..Job::default()
        };
        for open in &with.open {
            job.open.push((self.parsed(&open.account)?, open.overdraft));
        }
        for expect in &with.expect {
            let min = self.text(&expect.min)?;
            let least = super::value::balance(&min).map_err(|_| PostingsError::Malformed {
                what: "`min` is a whole number in a string",
                found: shown(&min),
            })?;
            let place = (self.parsed(&expect.account)?, self.parsed(&expect.asset)?);
            job.expect.push((place.0, place.1, least));
        }
        for transaction in &with.transactions {
            job.wanted.push(self.transaction(transaction)?);
        }
        for change in &with.metadata {
            self.change(change, &mut job.facts)?;
        }
        let asked = with.reverts.iter().map(|revert| self.revert(revert));
        Ok((job, asked.collect::<Result<_, _>>()?))
    }

    fn transaction(&self, transaction: &with::Transaction) -> Result<Wanted, PostingsError> {
        let postings =
            match &transaction.postings {
                Many::Listed(list) => list
                    .iter()
                    .map(|posting| {
                        Ok(Posting {
                            source: self.parsed(&posting.source)?,
                            destination: self.parsed(&posting.destination)?,
                            asset: self.parsed(&posting.asset)?,
                            amount: self.parsed(&posting.amount)?,
                        })
                    })
                    .collect::<Result<Vec<_>, PostingsError>>()?,
                Many::At(pointer) => serde_json::from_value(self.at(pointer)?.clone()).map_err(
                    |error| PostingsError::Malformed {
                        what: "a list of postings has source, destination, asset and amount each",
                        found: shown(&error.to_string()),
                    },
                )?,
            };
        if postings.is_empty() {
            return Err(PostingsError::Malformed {
                what: "a transaction has at least one posting",
                found: String::new(),
            });
        }
        if let Some(circle) = postings.iter().find(|p| p.source == p.destination) {
            return Err(PostingsError::Malformed {
                what: "a posting goes from one account to another",
                found: circle.source.to_string(),
            });
        }
        let effective = transaction.effective.as_ref().map(|term| self.time(term));
        Ok(Wanted {
            reference: self.reference(transaction.reference.as_ref())?,
            effective: effective.transpose()?,
            postings,
            metadata: self.facts(&transaction.metadata)?,
            ..Wanted::default()
        })
    }

    fn revert(&self, revert: &with::Revert) -> Result<Asked, PostingsError> {
        let transaction = revert.transaction.as_ref().map(|term| self.id(term));
        let receipt = revert.receipt.as_ref().map(|receipt| {
            let text = |pointer: &Pointer| as_text(self.at(pointer)?, pointer);
            Ok::<_, PostingsError>((text(&receipt.note)?, text(&receipt.record)?))
        });
        let (effective, at_original) = self.when(revert.effective.as_ref())?;
        Ok(Asked {
            transaction: transaction.transpose()?,
            receipt: receipt.transpose()?,
            wanted: Wanted {
                reference: self.reference(revert.reference.as_ref())?,
                effective,
                metadata: self.facts(&revert.metadata)?,
                force: self.force(revert.force.as_ref())?,
                dry_run: self.switch(revert.dry_run.as_ref())?,
                ..Wanted::default()
            },
            at_original,
        })
    }

    /// The time of a reversal, or that it is the original one.
    pub fn when(&self, term: Option<&Term>) -> Result<(Option<String>, bool), PostingsError> {
        match term {
            None => Ok((None, false)),
            Some(Term::Text(word)) if word == NOW => Ok((None, false)),
            Some(Term::Text(word)) if word == ORIGINAL => Ok((None, true)),
            Some(term) => Ok((Some(self.time(term)?), false)),
        }
    }

    /// Who forces; nobody when nothing or null stands there.
    pub fn force(&self, pointer: Option<&Pointer>) -> Result<Option<Words>, PostingsError> {
        match pointer.and_then(|p| Some((p, p.resolve(self.0)?))) {
            None | Some((_, Value::Null)) => Ok(None),
            Some((pointer, value)) => as_text(value, pointer)?.parse().map(Some),
        }
    }

    fn switch(&self, switch: Option<&Switch>) -> Result<bool, PostingsError> {
        let pointer = match switch {
            None => return Ok(false),
            Some(Switch::Plain(answer)) => return Ok(*answer),
            Some(Switch::At(pointer)) => pointer,
        };
        match pointer.resolve(self.0) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(answer)) => Ok(*answer),
            Some(other) => Err(PostingsError::Malformed {
                what: "`dry_run` is true or false",
                found: shown(&other.to_string()),
            }),
        }
    }

    fn change(
        &self,
        change: &with::Change,
        facts: &mut Vec<FactChange>,
    ) -> Result<(), PostingsError> {
        let account = change
            .account
            .as_ref()
            .map(|term| self.parsed::<Address>(term));
        let account = account.transpose()?;
        let transaction = change
            .transaction
            .as_ref()
            .map(|term| self.id(term))
            .transpose()?;
        let of = |key: Key, value: Option<Words>| FactChange {
            account: account.clone(),
            transaction,
            key,
            value,
            at: None,
        };
        for (key, value) in self.facts(&change.set)? {
            facts.push(of(key, Some(value)));
        }
        for term in &change.delete {
            facts.push(of(self.parsed(term)?, None));
        }
        Ok(())
    }

    /// Keys and values.
    pub fn facts(&self, facts: &Facts) -> Result<BTreeMap<Key, Words>, PostingsError> {
        let mut all = BTreeMap::new();
        match facts {
            Facts::Listed(map) => {
                for (key, term) in map {
                    all.insert(key.parse()?, self.parsed(term)?);
                }
            }
            Facts::At(pointer) => {
                let Value::Object(map) = self.at(pointer)? else {
                    return Err(PostingsError::Malformed {
                        what: "metadata is an object of texts",
                        found: pointer.to_string(),
                    });
                };
                for (key, value) in map {
                    all.insert(key.parse()?, as_text(value, pointer)?.parse()?);
                }
            }
        }
        Ok(all)
    }

    fn reference(&self, term: Option<&Term>) -> Result<Option<Words>, PostingsError> {
        term.map(|term| self.parsed(term)).transpose()
    }

    fn id(&self, term: &Term) -> Result<Uuid, PostingsError> {
        let text = self.text(term)?;
        text.parse().map_err(|_| PostingsError::Malformed {
            what: "a transaction is named by its id",
            found: shown(&text),
        })
    }

    fn time(&self, term: &Term) -> Result<String, PostingsError> {
        time(&self.text(term)?)
    }
}

/// A time as it is kept.
pub(super) fn time(text: &str) -> Result<String, PostingsError> {
    let time: Option<Timestamp> = text.parse().ok();
    // Before the year 1 the two sides count differently.
    let time = time
        .map(|time| time.to_string())
        .filter(|t| !t.starts_with('-'));
    time.ok_or_else(|| PostingsError::Malformed {
        what: "a time is written as in RFC 3339, with its offset",
        found: shown(text),
    })
}

fn as_text(value: &Value, pointer: &Pointer) -> Result<String, PostingsError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(PostingsError::Malformed {
            what: "a text is needed",
            found: format!("{pointer}: {}", shown(&other.to_string())),
        }),
    }
}

fn plain_name(text: String) -> Result<String, PostingsError> {
    if text.ends_with('*') {
        return Err(PostingsError::Malformed {
            what: "a pattern stands in the saga file; the input gives plain names",
            found: shown(&text),
        });
    }
    Ok(text)
}
