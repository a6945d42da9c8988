//! Refuses authorities that nobody could give, or that give away what needs a signature.

use redress_ledger::key::Role;
use redress_ledger::quorum::Quorum;

use crate::definition::error::Problem;
use crate::definition::model::Authority;
use crate::name::shown;
use crate::pointer::escape;

use super::Judge;

const SIGNERS_MAX: u32 = 100;

impl Judge<'_> {
    pub(super) fn authority(&mut self) {
        for (action, authority) in &self.definition.authority {
            let path = format!("/authority/{}", escape(action));
            let Some(rule) = RULES.iter().find(|rule| rule.action == action) else {
                let known: Vec<&str> = RULES.iter().map(|rule| rule.action).collect();
                let message = format!(
                    "unknown action (known: {}): {}",
                    known.join(", "),
                    shown(action)
                );
                self.find(path, Problem::Authority(message));
                continue;
            };
            match authority {
                Authority::Auto if rule.needs == Needs::Nobody => {}
                Authority::Auto => {
                    let message =
                        format!("this action needs a signature and cannot be `auto`: {action}");
                    self.find(path, Problem::Authority(message));
                }
                Authority::Quorum(quorum) => {
                    if quorum.is_empty() {
                        let message = "name who must sign, or write `auto`".to_owned();
                        self.find(path.clone(), Problem::Authority(message));
                    } else if rule.needs == Needs::Sovereign
                        && !quorum.contains_key(&Role::Sovereign)
                    {
                        let message = format!("this action needs at least one sovereign: {action}");
                        self.find(path.clone(), Problem::Authority(message));
                    }
                    self.quorum(&path, quorum);
                }
            }
        }
    }

    pub(super) fn quorum(&mut self, path: &str, quorum: &Quorum) {
        for (role, count) in quorum {
            let message = match (role, count) {
                (Role::Auditor, _) => {
                    "an auditor reads only; its signature never counts".to_owned()
                }
                (_, 0) => "a quorum of none is no quorum; leave the role out".to_owned(),
                (_, &count) if count > SIGNERS_MAX => {
                    format!("at most {SIGNERS_MAX} signers of a role")
                }
                _ => continue,
            };
            self.find(format!("{path}/{role}"), Problem::Authority(message));
        }
    }
}

/// Each action that `authority` may name, and whether it may be `auto`.
pub(in crate::definition) fn actions() -> impl Iterator<Item = (&'static str, bool)> {
    let may = |rule: &Rule| (rule.action, rule.needs == Needs::Nobody);
    RULES.iter().map(may)
}

/// What an entry of `authority` may say.
struct Rule {
    action: &'static str,
    needs: Needs,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Needs {
    /// May be `auto`.
    Nobody,
    /// A statement that somebody must sign.
    Somebody,
    /// P5: a hard delete needs a sovereign quorum.
    Sovereign,
}

const RULES: [Rule; 8] = [
    Rule {
        action: "discard",
        needs: Needs::Nobody,
    },
    Rule {
        action: "soft_revert",
        needs: Needs::Nobody,
    },
    Rule {
        action: "restore",
        needs: Needs::Nobody,
    },
    Rule {
        action: "rewind",
        needs: Needs::Nobody,
    },
    Rule {
        action: "decide",
        needs: Needs::Somebody,
    },
    Rule {
        action: "release",
        needs: Needs::Somebody,
    },
    Rule {
        action: "resolve",
        needs: Needs::Somebody,
    },
    Rule {
        action: "hard_delete",
        needs: Needs::Sovereign,
    },
];
