//! `streams`.

mod render;
mod watch;

use common::stream::{StreamOptions, StreamSpec, StreamView};

use crate::{
    cli::{StreamsAdd, StreamsCommand},
    client::{Client, Farm},
    console,
    error::Error,
    exit::Exit,
    interrupt::Interrupt,
    text,
};

pub(crate) async fn run(command: StreamsCommand, farm: &Farm, interrupt: &Interrupt) -> Result<Exit, Error> {
    let client = super::connect(farm)?;
    match command {
        StreamsCommand::Ls(args) => {
            let streams = client.streams().await?;
            if args.json {
                console::print_json(&streams)?;
            } else if streams.is_empty() {
                console::say("no streams; add one: ffmpegctl streams add NAME SOURCE");
            } else {
                console::print(&render::streams(&streams))?;
            }
        }
        StreamsCommand::Add(args) => add(&client, args).await?,
        StreamsCommand::Rm(args) => {
            let remove = async |stream: &str| {
                client.remove_stream(stream).await?;
                Ok(Some(format!("{}  removed", text::printable(stream))))
            };
            return super::each(&args.streams, remove).await;
        }
        StreamsCommand::Show(args) => {
            let stream = client.stream(&args.stream).await?;
            if args.json {
                console::print_json(&stream)?;
            } else {
                console::print(&render::stream(&stream))?;
            }
        }
        StreamsCommand::Watch(args) => return watch::run(&client, args, interrupt).await,
    }
    Ok(Exit::Ok)
}

async fn add(client: &Client, args: StreamsAdd) -> Result<(), Error> {
    let usual = StreamOptions::default();
    let spec = StreamSpec {
        name: args.name,
        source: args.source,
        profiles: args.profiles,
        options: StreamOptions {
            linger_ms: args.linger.unwrap_or(usual.linger_ms),
            hold_ms: args.hold.unwrap_or(usual.hold_ms),
            redundancy: args.redundancy,
            slate: args.slate,
            labels: args.labels.into_iter().collect(),
            owner: args.owner,
        },
    };
    let stream: StreamView = client.add_stream(&spec).await?;
    if args.json {
        return console::print_json(&stream);
    }
    let name = &stream.spec.name;
    console::print(&format!("{name}  added"))?;
    if stream.spec.source == common::stream::SourceSpec::Push {
        let input = client.address_of(&["v1", "streams", name, "input"]);
        console::say(&format!("send it: ffmpeg -re -i INPUT -c copy -f mpegts {input}"));
    }
    console::say(&format!("watch it: ffmpegctl streams watch {name}"));
    Ok(())
}
