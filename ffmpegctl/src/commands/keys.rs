//! `keys`.

use common::api::{KeyRequest, KeyView};
use jiff::{SignedDuration, Timestamp};

use crate::{
    cli::{KeysCommand, KeysCreate, KeysList},
    client::{Client, Farm},
    console,
    error::Error,
    exit::Exit,
    names, text,
};

pub(crate) async fn run(command: KeysCommand, farm: &Farm) -> Result<Exit, Error> {
    let client = super::connect(farm)?;
    match command {
        KeysCommand::Create(args) => create(&client, args).await?,
        KeysCommand::List(args) => list(&client, &args).await?,
        KeysCommand::Revoke(args) => return revoke(&client, &args.keys).await,
    }
    Ok(Exit::Ok)
}

async fn create(client: &Client, args: KeysCreate) -> Result<(), Error> {
    let expires_at = args.expires_in.map(|seconds| {
        let after = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        Timestamp::now().checked_add(after).map_err(|_| Error::invalid("--expires-in: that is too far away"))
    });
    let request = KeyRequest {
        owner: args.owner,
        scopes: args.scopes,
        name: args.name,
        expires_at: expires_at.transpose()?,
    };
    let created = client.create_key(&request).await?;
    if args.json {
        return console::print_json(&created);
    }
    console::say(&format!("key {}, for {}:", created.view.id, whose(&created.view)));
    console::print(&created.key)?;
    console::say("it is not shown again; send it as Authorization: Bearer KEY, or set TVARR_API_KEY");
    Ok(())
}

async fn list(client: &Client, args: &KeysList) -> Result<(), Error> {
    let mut keys = client.keys().await?;
    let now = Timestamp::now();
    if !args.all {
        keys.retain(|key| state(key, now) == "good");
    }
    if args.json {
        return console::print_json(&keys);
    }
    if keys.is_empty() {
        console::say("no keys; make the first: ffmpegctl keys create --scope admin");
        return Ok(());
    }
    let mut table = super::table(&["ID", "KEY", "OWNER", "SCOPES", "STATE", "CREATED", "EXPIRES", "NAME"]);
    for key in &keys {
        let id = if args.full { key.id.to_string() } else { names::short(&key.id) };
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        table.add_row([
            id,
            format!("{}...", text::printable(&key.hint)),
            text::printable(key.owner.as_deref().unwrap_or("-")),
            scopes.join(","),
            state(key, now).to_owned(),
            text::time(key.created_at),
            key.expires_at.map_or_else(|| "never".to_owned(), text::time),
            text::printable(key.name.as_deref().unwrap_or_default()),
        ]);
    }
    console::print(&table.trim_fmt())
}

async fn revoke(client: &Client, pieces: &[String]) -> Result<Exit, Error> {
    let keys = client.keys().await?;
    let revoke = async |piece: &str| {
        let named = |key: &&KeyView| {
            key.name.as_deref() == Some(piece)
                || (names::may_be_piece(piece) && names::is_piece_of(piece, &key.id.to_string()))
                || key.id.to_string() == piece
        };
        let found = keys.iter().filter(named).map(|key| (key.id.to_string(), key.id)).collect();
        let key = client.revoke_key(names::only("key", piece, found)?).await?;
        Ok(Some(format!("{}  revoked", key.id)))
    };
    super::each(pieces, revoke).await
}

fn whose(key: &KeyView) -> String {
    let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    match &key.owner {
        Some(owner) => format!("{} of {}", scopes.join(","), text::printable(owner)),
        None => scopes.join(","),
    }
}

fn state(key: &KeyView, now: Timestamp) -> &'static str {
    match key {
        key if key.revoked_at.is_some() => "revoked",
        key if key.expires_at.is_some_and(|at| at <= now) => "expired",
        _ => "good",
    }
}
