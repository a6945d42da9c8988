//! What the help of each command ends with: lines that can be typed.
//!
//! **Invariant:** every command that does something has an example, and every example parses; a test holds both.

use clap::Command;

/// The words of a command, and its examples: what it is for, and the line.
type Examples = (&'static str, &'static [(&'static str, &'static str)]);

/// Every command's examples, in the order of the help.
pub const EXAMPLES: &[Examples] = &[
    (
        "",
        &[
            ("See everything once, in a minute", "redress demo"),
            ("What needs a person now", "redress status"),
            ("What is wrong with the surroundings", "redress doctor"),
        ],
    ),
    (
        "demo",
        &[
            ("On the document that comes with it", "redress demo"),
            ("On your own", "redress demo --file README.md"),
        ],
    ),
    ("db up", &[("Bring the private server up", "redress db up")]),
    ("db down", &[("Stop the private server", "redress db down")]),
    (
        "db remove",
        &[(
            "Remove the private server and all that is in it",
            "redress db remove --yes",
        )],
    ),
    (
        "db status",
        &[(
            "Which database, and what stands there",
            "redress db status --json",
        )],
    ),
    (
        "db migrate",
        &[
            (
                "Install or upgrade, as the owner of the schema",
                "redress db migrate --database postgres://owner@db.example/app",
            ),
            (
                "With a name for the ledger",
                "redress db migrate --origin ledger.example/app",
            ),
        ],
    ),
    (
        "db roles",
        &[(
            "What an administrator runs first",
            "redress db roles > roles.sql",
        )],
    ),
    (
        "db sql",
        &[
            (
                "A statement",
                "redress db sql 'select count(*) from shop.reservation'",
            ),
            ("A file, in one transaction", "redress db sql @tables.sql"),
        ],
    ),
    (
        "saga check",
        &[("Judge a file", "redress saga check restock.yaml")],
    ),
    (
        "saga register",
        &[("Register it", "redress saga register restock.yaml")],
    ),
    ("saga list", &[("What is registered", "redress saga list")]),
    (
        "saga show",
        &[("The newest version of a saga", "redress saga show restock")],
    ),
    (
        "saga grants",
        &[(
            "What each phase's role needs",
            "redress saga grants restock > grants.sql",
        )],
    ),
    (
        "start",
        &[
            (
                "Start and wait for the end",
                "redress start restock --input '{\"order\": \"o-17\", \"sku\": \"A1\", \"qty\": 2}' --wait",
            ),
            (
                "From a file, once for this key",
                "redress start restock --input @order.json --key order-17",
            ),
        ],
    ),
    (
        "rehearse",
        &[(
            "Every failure point, forward and back",
            "redress rehearse restock.yaml --input @order.json",
        )],
    ),
    (
        "work",
        &[
            ("Sixteen runs at once", "redress work --concurrency 16"),
            ("Only what is there now", "redress work --until-idle"),
        ],
    ),
    (
        "status",
        &[("What needs a person, oldest first", "redress status")],
    ),
    (
        "runs",
        &[
            ("What has failed", "redress runs --state failed"),
            (
                "Of one subject, as data",
                "redress runs --subject o-17 --json",
            ),
        ],
    ),
    (
        "show",
        &[("A run, by the end of its id", "redress show 3f9a21cc")],
    ),
    (
        "log",
        &[
            ("The records of a run", "redress log 3f9a21cc"),
            (
                "What happens everywhere, as it happens",
                "redress log --all --follow --jsonl",
            ),
        ],
    ),
    (
        "cancel",
        &[(
            "Stop a run; it goes its way back",
            "redress cancel 3f9a21cc --reason 'ordered twice'",
        )],
    ),
    (
        "plan",
        &[
            ("What would be undone", "redress plan 3f9a21cc"),
            (
                "For somebody to sign elsewhere",
                "redress plan 3f9a21cc --out plan.json",
            ),
            (
                "Of all runs that fail alike",
                "redress plan --match 1a2b3c4d",
            ),
        ],
    ),
    (
        "approve",
        &[
            (
                "Sign the plan of a run",
                "redress approve 3f9a21cc --as sofia --reason 'seen with the shop'",
            ),
            (
                "Let a phase go on that waits for signatures",
                "redress approve 3f9a21cc --phase ship --as sofia",
            ),
        ],
    ),
    (
        "apply",
        &[
            (
                "Carry the approved plan of a run out",
                "redress apply 3f9a21cc",
            ),
            (
                "Recover all runs that fail alike",
                "redress apply --match 1a2b3c4d --as sofia --reason 'the bank was down'",
            ),
        ],
    ),
    (
        "rewind",
        &[
            (
                "Look first",
                "redress rewind 3f9a21cc --to reserve --dry-run",
            ),
            (
                "Go back and on again",
                "redress rewind 3f9a21cc --to reserve --then resume --reason 'wrong price'",
            ),
        ],
    ),
    (
        "rewinds",
        &[(
            "Those that are not done",
            "redress rewinds --status pending",
        )],
    ),
    (
        "resume",
        &[("Let a failed run go on", "redress resume 3f9a21cc")],
    ),
    (
        "resolve",
        &[(
            "Close it; what stands stays",
            "redress resolve 3f9a21cc --reason 'settled by hand' --as sofia",
        )],
    ),
    (
        "hold",
        &[
            (
                "Stop a saga, and wait for those inside",
                "redress hold saga:restock --reason 'stock is being counted' --wait",
            ),
            (
                "Stop one subject",
                "redress hold subject:o-17 --reason 'disputed'",
            ),
        ],
    ),
    (
        "holds",
        &[("What is held, and the switch", "redress holds")],
    ),
    (
        "release",
        &[
            (
                "Lift a hold",
                "redress release 9c81d0aa --as sofia --reason 'counted'",
            ),
            (
                "Lift the kill switch",
                "redress release kill --as sofia --reason 'mended'",
            ),
        ],
    ),
    (
        "kill",
        &[(
            "Stop everything now",
            "redress kill --reason 'wrong prices everywhere'",
        )],
    ),
    (
        "key new",
        &[(
            "A key of a person",
            "redress key new sofia --role sovereign",
        )],
    ),
    (
        "key open",
        &[("Open the ledger, alone", "redress key open --as sofia")],
    ),
    (
        "key register",
        &[(
            "Let a key count",
            "redress key register rene.pub --as sofia",
        )],
    ),
    (
        "key rotate",
        &[(
            "Replace a key",
            "redress key rotate rene --to rene2.pub --as sofia",
        )],
    ),
    (
        "key revoke",
        &[(
            "Let a key count no more",
            "redress key revoke rene --as sofia --reason 'left the team'",
        )],
    ),
    (
        "key compromised",
        &[(
            "It was stolen; doubtful from here on",
            "redress key compromised rene --since 4711 --as sofia",
        )],
    ),
    (
        "key sign",
        &[(
            "Add your signature to an act",
            "redress key sign act.json --as rene",
        )],
    ),
    (
        "key submit",
        &[(
            "Record an act with its signatures",
            "redress key submit act.json",
        )],
    ),
    (
        "key list",
        &[
            ("Here and in the trust file", "redress key list"),
            ("In the ledger", "redress key list --ledger"),
        ],
    ),
    (
        "key trust",
        &[("Trust a key on this machine", "redress key trust rene.pub")],
    ),
    (
        "audit log",
        &[(
            "Every record, as it is written",
            "redress audit log --follow --jsonl",
        )],
    ),
    (
        "audit verify",
        &[
            ("The database", "redress audit verify"),
            (
                "An export, offline, with your own roots",
                "redress audit verify export --trust roots",
            ),
        ],
    ),
    (
        "audit seal",
        &[(
            "Go on sealing",
            "redress audit seal --follow --anchor /mnt/other/anchor",
        )],
    ),
    (
        "audit window",
        &[("For monitoring", "redress audit window --max 60")],
    ),
    (
        "audit export",
        &[
            ("The whole sealed ledger", "redress audit export export"),
            (
                "One run, for a stranger",
                "redress audit export case-17 --run 3f9a21cc",
            ),
        ],
    ),
    (
        "audit receipt",
        &[(
            "Proof that a phase is in the log",
            "redress audit receipt 3f9a21cc --phase ship > receipt",
        )],
    ),
    (
        "audit consistency",
        &[(
            "That the log only grew",
            "redress audit consistency 100 250",
        )],
    ),
    (
        "audit archive",
        &[(
            "What ended a quarter ago",
            "redress audit archive archive-1 --before 90d --as sofia",
        )],
    ),
    (
        "audit erase",
        &[(
            "Data that must go",
            "redress audit erase 018f5e3e-7e4a-7c4e-9a39-3f9a21cc0001 --as sofia --reason 'asked for'",
        )],
    ),
    (
        "audit continue",
        &[(
            "After a restore",
            "redress audit continue --checkpoint anchor/log-gen-1 --as sofia",
        )],
    ),
    ("check", &[("Ledger against tables", "redress check")]),
    (
        "artefacts",
        &[("Remove what nobody needs", "redress artefacts --collect")],
    ),
    ("postings up", &[("Make the tables", "redress postings up")]),
    (
        "postings down",
        &[("Remove them with every row", "redress postings down --yes")],
    ),
    (
        "postings check",
        &[("Recompute all balances", "redress postings check")],
    ),
    (
        "postings script",
        &[(
            "For an administrator",
            "redress postings script > postings.sql",
        )],
    ),
    (
        "fileset list",
        &[(
            "Snapshots of one directory",
            "redress fileset list --directory projects/site",
        )],
    ),
    (
        "fileset verify",
        &[("Read every snapshot again", "redress fileset verify")],
    ),
    (
        "fileset collect",
        &[("Remove what nobody needs", "redress fileset collect")],
    ),
    (
        "runbook list",
        &[("Which there are", "redress runbook list")],
    ),
    (
        "runbook show",
        &[("Its page", "redress runbook show stale-plan")],
    ),
    (
        "runbook render",
        &[(
            "For a wiki",
            "redress runbook render stale-plan --format markdown > stale-plan.md",
        )],
    ),
    (
        "runbook lint",
        &[("Judge your own", "redress runbook lint runbooks/ours.yaml")],
    ),
    (
        "runbook check",
        &[("Which still hold today", "redress runbook check --all")],
    ),
    (
        "runbook suggest",
        &[(
            "What is right for a run",
            "redress runbook suggest 3f9a21cc",
        )],
    ),
    (
        "runbook schema",
        &[(
            "For an editor",
            "redress runbook schema > runbook.schema.json",
        )],
    ),
    (
        "runbook run",
        &[
            (
                "Only plan it",
                "redress runbook run compensate-failed-run --run 3f9a21cc --plan --as otto",
            ),
            (
                "Carry it out",
                "redress runbook run compensate-failed-run --run 3f9a21cc --as otto",
            ),
        ],
    ),
    (
        "runbook resume",
        &[(
            "Behind a step by hand",
            "redress runbook resume 5d11c0de --did call --evidence ticket=OPS-17 --as otto",
        )],
    ),
    (
        "runbook abandon",
        &[(
            "Give it up",
            "redress runbook abandon 5d11c0de --reason 'another one is right' --as otto",
        )],
    ),
    (
        "runbook executions",
        &[("What is under way", "redress runbook executions --open")],
    ),
    (
        "drill list",
        &[("What can be practised", "redress drill list")],
    ),
    (
        "drill start",
        &[("Begin one", "redress drill start stale-plan")],
    ),
    (
        "drill repair",
        &[(
            "Let a colleague mend the cause outside",
            "redress drill repair",
        )],
    ),
    ("drill check", &[("How it went", "redress drill check")]),
    ("drill end", &[("Clear up", "redress drill end")]),
    (
        "doctor",
        &[
            ("What is wrong, and what to do", "redress doctor"),
            ("Everything, for monitoring", "redress doctor --json"),
        ],
    ),
    (
        "config",
        &[
            (
                "What is in force, and where it comes from",
                "redress config",
            ),
            ("Judge a file", "redress config --check redress.toml"),
            (
                "For an editor",
                "redress config --json-schema > redress.toml.schema.json",
            ),
        ],
    ),
    (
        "explain",
        &[
            ("One code", "redress explain RD0420"),
            ("All of them", "redress explain --list"),
        ],
    ),
    (
        "completions",
        &[
            (
                "For this shell, with runs and sagas",
                "redress completions bash --dynamic > ~/.redress-completion && . ~/.redress-completion",
            ),
            (
                "Words of the command line only",
                "redress completions zsh > _redress",
            ),
        ],
    ),
    (
        "man",
        &[
            ("One page", "redress man | man -l -"),
            ("All pages", "redress man --dir man1"),
        ],
    ),
];

/// The command line with its examples at the end of each help.
pub fn onto(mut command: Command) -> Command {
    for (words, lines) in EXAMPLES {
        let words: Vec<&str> = words.split_whitespace().collect();
        command = with(command, &words, lines);
    }
    command
}

fn with(command: Command, words: &[&str], lines: &[(&str, &str)]) -> Command {
    if let Some((first, rest)) = words.split_first() {
        let first = (*first).to_owned();
        return command.mut_subcommand(first, |inner| with(inner, rest, lines));
    }
    let mut text = String::from("Examples:");
    for (what, line) in lines {
        text.push_str(&format!("\n  # {what}\n  {line}"));
    }
    match command.get_after_help() {
        Some(said) => {
            let said = format!("{said}\n\n{text}");
            command.after_help(said)
        }
        None => command.after_help(text),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The words of a line as a shell has them, without what stands behind `>`, `|` and `&&`.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                c => word.push(c),
            }
        }
        words.push(word);
        let end = words
            .iter()
            .position(|word| [">", "|", "&&"].contains(&word.as_str()));
        words.truncate(end.unwrap_or(words.len()));
        words
    }

    fn leaves(command: &Command, above: &str, found: &mut BTreeSet<String>) {
        let inner: Vec<&Command> = command
            .get_subcommands()
            .filter(|inner| inner.get_name() != "help" && !inner.is_hide_set())
            .collect();
        if inner.is_empty() {
            found.insert(above.to_owned());
        }
        for one in inner {
            leaves(one, format!("{above} {}", one.get_name()).trim(), found);
        }
    }

    #[test]
    fn every_command_has_an_example_and_every_example_parses() {
        let mut wanted = BTreeSet::new();
        leaves(&crate::command_line(), "", &mut wanted);
        let given: BTreeSet<String> = EXAMPLES
            .iter()
            .map(|(words, _)| (*words).to_owned())
            .collect();
        let missing: Vec<_> = wanted.difference(&given).collect();
        assert!(missing.is_empty(), "without an example: {missing:?}");
        for (command, lines) in EXAMPLES {
            for (_, line) in *lines {
                let words = words(line);
                assert_eq!(words[0], "redress");
                let parsed = crate::command_line().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{line}\n{}", parsed.unwrap_err());
                let first: Vec<&str> = command.split_whitespace().collect();
                assert_eq!(words[1..=first.len()], first, "{line}");
            }
        }
    }
}
