//! `workers`.

use common::{
    api::{DrainRequest, WorkerView},
    id::WorkerId,
};

use super::{render, worker_state};
use crate::{
    cli::{OneWorker, WorkersCommand},
    client::{self, Client, Farm},
    console,
    error::Error,
    exit::Exit,
    text,
};

pub(crate) async fn run(command: WorkersCommand, farm: &Farm) -> Result<Exit, Error> {
    let client = super::connect(farm)?;
    match command {
        WorkersCommand::Ls(args) => {
            let workers = client.workers().await?;
            if args.json {
                console::print_json(&workers)?;
            } else if workers.is_empty() {
                console::say(
                    "no workers; start one with TVARR_COORDINATOR_URL set to the coordinator's worker port: ffmpegd",
                );
            } else {
                console::print(&render::workers(&workers, args.full))?;
            }
        }
        WorkersCommand::Show(args) => {
            let found = client.find_worker(&args.worker).await?;
            let worker = client.worker(found.id).await?;
            if args.json {
                console::print_json(&worker)?;
            } else {
                console::print(&render::worker(&worker))?;
            }
        }
        WorkersCommand::Drain(args) => {
            let drain = DrainRequest { now: args.now };
            change(&client, args.worker, async |client, id| client.drain(id, drain).await).await?;
        }
        WorkersCommand::Resume(args) => {
            change(&client, args, async |client, id| client.resume(id).await).await?;
        }
        WorkersCommand::Probe(args) => {
            change(&client, args, async |client, id| client.probe_worker(id).await).await?;
        }
        WorkersCommand::Forget(args) => {
            let worker = client.find_worker(&args.worker).await?;
            client.forget_worker(worker.id).await?;
            console::say(&format!("{} is forgotten", text::printable(&worker.name)));
        }
    }
    Ok(Exit::Ok)
}

async fn change(
    client: &Client,
    args: OneWorker,
    act: impl AsyncFn(&Client, WorkerId) -> Result<WorkerView, client::Error>,
) -> Result<(), Error> {
    let found = client.find_worker(&args.worker).await?;
    let worker = act(client, found.id).await?;
    if args.json {
        return console::print_json(&worker);
    }
    let running = match worker.jobs {
        0 => String::new(),
        1 => ", 1 job still runs".to_owned(),
        jobs => format!(", {jobs} jobs still run"),
    };
    console::print(&format!("{}  {}{running}", text::printable(&worker.name), worker_state(worker.state)))
}
