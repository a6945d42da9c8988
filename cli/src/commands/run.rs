//! `cancel`, `resume`, `resolve`: what a person does to one run without a plan.

use crate::commands::find_run;
use crate::commands::show::print_run;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::short_id;

/// What to cancel.
#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    /// The run: its id, or the beginning or end of it
    pub run: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// What to resume.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The run: its id, or the beginning or end of it
    pub run: String,
}

/// What to resolve.
#[derive(Debug, clap::Args)]
pub struct ResolveArgs {
    /// The run: its id, or the beginning or end of it
    pub run: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Cancels a run.
///
/// # Errors
/// [`Fail`]: the run was not cancelled.
pub async fn cancel(place: &Place, args: &CancelArgs) -> Result<Exit, Fail> {
    let engine = place.engine_asked().await?;
    let run = find_run(&engine, &args.run).await?;
    engine.cancel(run, &args.reason).await?;
    print_run(place, &engine.show(run).await?)?;
    Ok(Exit::Done)
}

/// Lets a failed run go forward.
///
/// # Errors
/// [`Fail`]: the run stays as it is.
pub async fn resume(place: &Place, args: &ResumeArgs) -> Result<Exit, Fail> {
    let engine = place.engine_asked().await?;
    let run = find_run(&engine, &args.run).await?;
    engine.resume(run).await?;
    print_run(place, &engine.show(run).await?)?;
    place.say.notice("it goes on when a worker claims it (`redress work`); its holds stay until they are released");
    Ok(Exit::Done)
}

/// Closes a run by a signed decision.
///
/// # Errors
/// [`Fail`]: the run stays as it is.
pub async fn resolve(place: &Place, args: &ResolveArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let run = find_run(&engine, &args.run).await?;
    place.expect_signer()?;
    let view = engine.show(run).await?;
    place.say.notice(&format!(
        "resolve run {run} of saga {}, which is {}: what it has done stays as it is. Reason: {}",
        view.saga, view.state, args.reason
    ));
    place.confirm("it", &short_id(run))?;
    let signer = place.signing_key()?;
    engine.resolve(run, &signer.key, &args.reason).await?;
    print_run(place, &engine.show(run).await?)?;
    Ok(Exit::Done)
}
