//! `runbook check`: whether runbooks still hold against today's database and keys.
//!
//! **Invariant:** nothing is changed, and every runbook gets a verdict; one that cannot be judged is not passed over.

use std::collections::BTreeSet;

use redress::Engine;
use redress::db::Session;
use redress_adapters::{external, standard};
use redress_ledger::keyring::KeyRole;
use redress_ledger::quorum::{Signer, quorum_missing};
use redress_runbooks::library::{Book, ShelfError};
use redress_runbooks::model::Runbook;
use serde_json::{Value, json};

use super::Where;
use super::prepare::prepare;
use super::shelf::{self, Found};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Place, open};
use crate::text::plain;

/// Which runbooks.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The runbooks: names, or files
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub names: Vec<String>,
    /// Every runbook, the shipped ones and one's own
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Where one's own stand.
    #[command(flatten)]
    pub at: Where,
}

/// Whether a runbook holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Holds,
    Elsewhere,
    Broken,
}

impl Verdict {
    fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Elsewhere => "not for this database",
            Self::Broken => "does not hold",
        }
    }
}

/// One runbook, judged.
struct Judged {
    name: String,
    own: bool,
    verdict: Verdict,
    findings: Vec<(&'static str, String, String)>,
}

/// What the installation has.
struct Here {
    engine: Engine,
    session: Session,
    adapters: BTreeSet<String>,
    signers: Vec<Signer>,
}

/// Judges runbooks against today.
///
/// # Errors
/// [`Fail::Engine`] when the database cannot be asked; RD0165.
pub async fn check(place: &Place, args: &CheckArgs) -> Result<Exit, Fail> {
    let found = shelf::read(place, &args.at)?;
    let books: Vec<Book> = if args.all {
        found.shelf.books().to_vec()
    } else {
        let names = args.names.iter();
        names
            .map(|name| shelf::find(place, &args.at, name))
            .collect::<Result<_, Fail>>()?
    };
    let here = look(place).await?;
    let mut judged = Vec::new();
    for book in &books {
        judged.push(judge(&here, book).await?);
    }
    if args.all {
        judged.extend(refused(&found));
    }
    tell(place, &judged)?;
    let failed = judged
        .iter()
        .any(|one| one.own && one.verdict != Verdict::Holds);
    Ok(if failed {
        Exit::Verification
    } else {
        Exit::Done
    })
}

async fn look(place: &Place) -> Result<Here, Fail> {
    let engine = place.engine().await?;
    let session = open(&place.target().await?).await?;
    let config = place.config();
    let inside = standard().iter().map(|one| one.name().to_owned()).collect();
    let mut adapters: BTreeSet<String> = inside;
    adapters.extend(external(&config).iter().map(|one| one.name().to_owned()));
    let signers = signers(place, &engine).await?;
    Ok(Here {
        engine,
        session,
        adapters,
        signers,
    })
}

/// Whose signatures count today: those of the ledger's keyring, or of the trust file before it is open.
async fn signers(place: &Place, engine: &Engine) -> Result<Vec<Signer>, Fail> {
    let Some(trust) = place.trust()? else {
        return Ok(Vec::new());
    };
    if let Some(keyring) = engine.keyring().await? {
        let valid = keyring.keys().filter(|key| key.until().is_none());
        let people = valid.filter_map(|key| match key.role() {
            KeyRole::Person(role) => Some(Signer {
                key_id: key.vkey().id().clone(),
                principal: key.vkey().name().to_owned(),
                role,
            }),
            KeyRole::Engine | KeyRole::Log => None,
        });
        return Ok(people.collect());
    }
    let people = trust.keys().map(|key| Signer {
        key_id: key.vkey.id().clone(),
        principal: key.principal().to_owned(),
        role: key.role,
    });
    Ok(people.collect())
}

/// Files that are no sound runbook do not hold either.
fn refused(found: &Found) -> Vec<Judged> {
    let judge = |(file, error): &(String, ShelfError)| {
        let findings = match error {
            ShelfError::Refused(errors) => errors
                .iter()
                .map(|one| (one.code(), one.path.clone(), one.to_string()))
                .collect(),
            other => vec![(other.code(), String::new(), other.to_string())],
        };
        Judged {
            name: file.clone(),
            own: true,
            verdict: Verdict::Broken,
            findings,
        }
    };
    found.refused.iter().map(judge).collect()
}

async fn judge(here: &Here, book: &Book) -> Result<Judged, Fail> {
    let runbook = &book.runbook;
    let mut findings = Vec::new();
    let mut elsewhere = Vec::new();
    let mut note = |far: bool, path: String, message: String| {
        let list = if far { &mut elsewhere } else { &mut findings };
        list.push((CODE, path, message));
    };
    let origin = &here.engine.installation().origin;
    if !runbook.environments.is_empty() && !runbook.environments.contains(origin) {
        let text = format!("it is for other installations, this one is {origin}");
        note(true, "/environments".to_owned(), text);
    }
    saga(here, runbook, &mut note).await?;
    let named = runbook.role.as_deref();
    let role = here.engine.reader_role(named).await?;
    for wrong in prepare(&here.session, runbook, role.as_deref()).await? {
        note(wrong.elsewhere, wrong.path, wrong.message);
    }
    for step in &runbook.steps {
        if let Some(call) = &step.call
            && !here.adapters.contains(call.adapter.as_str())
        {
            let known: Vec<&str> = here.adapters.iter().map(String::as_str).collect();
            let text = format!(
                "no adapter {} here, only {}",
                call.adapter,
                known.join(", ")
            );
            note(false, format!("/steps/{}/call", step.id), text);
        }
    }
    if let Some(text) = unsigned(here, runbook) {
        note(false, "/approvals".to_owned(), text);
    }
    let verdict = match (findings.is_empty(), elsewhere.is_empty()) {
        (_, false) => Verdict::Elsewhere,
        (false, true) => Verdict::Broken,
        (true, true) => Verdict::Holds,
    };
    elsewhere.extend(findings);
    Ok(Judged {
        name: book.name().to_owned(),
        own: !book.is_shipped(),
        verdict,
        findings: elsewhere,
    })
}

/// The saga that it is for is registered and has the phases that are named.
async fn saga(
    here: &Here,
    runbook: &Runbook,
    note: &mut impl FnMut(bool, String, String),
) -> Result<(), Fail> {
    let matches = &runbook.matches;
    let Some(saga) = &matches.saga else {
        return Ok(());
    };
    let lines = here.engine.sagas().await?;
    let is_meant = |version: i32| {
        let version = u32::try_from(version).unwrap_or_default();
        matches.versions.is_empty() || matches.versions.contains(&version)
    };
    let mut phases: BTreeSet<String> = BTreeSet::new();
    let mut registered = false;
    for line in lines
        .iter()
        .filter(|line| line.saga == saga.as_str() && is_meant(line.version))
    {
        registered = true;
        let (definition, _) = here
            .engine
            .definition(saga.as_str(), Some(line.version))
            .await?;
        phases.extend(definition.phases.iter().map(|phase| phase.name.to_string()));
    }
    if !registered {
        let text = format!("no saga {saga} of such a version is registered here");
        note(true, "/match/saga".to_owned(), text);
        return Ok(());
    }
    for phase in matches.failed_phase.iter().chain(&matches.committed) {
        if !phases.contains(phase.as_str()) {
            let text = format!("the saga {saga} has no phase {phase}");
            note(false, "/match".to_owned(), text);
        }
    }
    Ok(())
}

/// Why nobody could fill the approvals, if that is so.
fn unsigned(here: &Here, runbook: &Runbook) -> Option<String> {
    let approvals = &runbook.approvals;
    let (quorum, signers) = (&approvals.quorum, &here.signers);
    let missing = |runs: &str| quorum_missing(quorum, signers, runs).err();
    if !approvals.distinct {
        return missing("")
            .map(|missing| format!("too few keys count for its approvals: {missing}"));
    }
    // Somebody has to run it, and does not count.
    let by_somebody = signers.iter().any(|one| missing(&one.principal).is_none());
    if by_somebody {
        return None;
    }
    let lack = missing("").map_or_else(
        || "beside them nobody is left to run it".to_owned(),
        |missing| missing.to_string(),
    );
    Some(format!(
        "too few people have keys for its approvals: {lack}"
    ))
}

fn tell(place: &Place, judged: &[Judged]) -> Result<(), Fail> {
    if place.say.is_json() {
        let list: Vec<Value> = judged.iter().map(as_json).collect();
        let errors: Vec<Value> = judged
            .iter()
            .filter(|one| one.own && one.verdict != Verdict::Holds)
            .map(|one| json!({"code": CODE, "message": format!("{} {}", one.name, one.verdict.words())}))
            .collect();
        return place
            .say
            .value(&json!({"schema": 1, "runbooks": list, "errors": errors}));
    }
    for one in judged {
        let own = if one.own { " (own)" } else { "" };
        place.say.line(&format!(
            "{}{own}: {}",
            plain(&one.name),
            one.verdict.words()
        ))?;
        for (code, path, message) in &one.findings {
            place
                .say
                .item("    ", &format!("[{code}] {path}: {message}"))?;
        }
    }
    Ok(())
}

fn as_json(one: &Judged) -> Value {
    let findings: Vec<Value> = one
        .findings
        .iter()
        .map(|(code, path, message)| json!({"code": code, "path": path, "message": message}))
        .collect();
    json!({
        "runbook": one.name,
        "shipped": !one.own,
        "verdict": one.verdict.words(),
        "findings": findings,
    })
}

const CODE: &str = "RD0166";
