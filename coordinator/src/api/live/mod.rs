//! `/live/`: what viewers get. Everything here answers what players ask, from the one buffer of a variant.
//!
//! Each request of a player of HLS or DASH joins the variant, which counts it as a viewer until it has asked for nothing for a
//! while.

mod asker;
mod cors;
mod manifest;
mod master;
mod media;
mod name;
mod playlist;
mod query;
#[cfg(test)]
mod tests;
mod token;
mod tokens;

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::{FromRequestParts, State},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    middleware,
    response::Response,
    routing::{get, post},
};
use common::{
    profile::{Output::Ladder, Profile},
    stream::VariantState,
};
use jiff::Timestamp;
use mux::{codec::Parameters, fmp4};
use tokio::time::{Duration, Instant, timeout, timeout_at};

pub(crate) use self::token::{Audience, Viewers};
use self::{
    asker::Asker,
    manifest::Described,
    master::Offer,
    name::{File, Init, Kind},
    playlist::{PLAYLIST_CACHE, Reload, SEGMENT_CACHE},
    query::Query,
};
use super::{Api, extract, problem::Error};
use crate::{
    access::Caller,
    live::{
        output::{Format, Output, ReadEnd, SegmentLine, Window},
        presence::Player,
        service::{Accept, Error as NotWatched, Watch},
    },
};

/// How long the first segment of a variant is waited for.
const FIRST_SEGMENT: Duration = Duration::from_secs(20);
/// A variant that runs tells at once what its tracks are.
const RUNNING: Duration = Duration::from_millis(200);
/// How often it is looked whether a viewer of the endless stream still reads.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/live/{stream}/{file}", get(of_stream).options(cors::preflight))
        .route("/live/{stream}/{profile}/{file}", get(of_variant).options(cors::preflight))
        .layer(middleware::from_fn(cors::cors))
        .route("/v1/streams/{stream}/tokens", post(tokens::post))
}

/// What the URL names.
struct Place {
    stream: String,
    file: File,
}

impl Place {
    async fn read<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let stream = extract::segment(parts, state, "stream").await?;
        let name = extract::segment(parts, state, "file").await?;
        let file = File::parse(&name).ok_or_else(|| Error::no("file", &name))?;
        Ok(Self { stream, file })
    }
}

/// A file of a stream: its master playlist.
struct OfStream(Place);

impl<S: Send + Sync> FromRequestParts<S> for OfStream {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Place::read(parts, state).await.map(Self)
    }
}

/// A file of a variant.
struct OfVariant(Place, String);

impl<S: Send + Sync> FromRequestParts<S> for OfVariant {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let profile = extract::segment(parts, state, "profile").await?;
        Place::read(parts, state).await.map(|place| Self(place, profile))
    }
}

async fn of_stream(
    State(api): State<Api>,
    caller: Caller,
    OfStream(Place { stream, file }): OfStream,
    extract::Query(query): extract::Query<Query>,
) -> Result<Response, Error> {
    leave(&api, &caller, &stream, &[], &query)?;
    if file != File::Master {
        return Err(Error::NotFound {
            what: format!("a stream has no {file}; its profiles do: {stream}/PROFILE/{file}"),
        });
    }
    let view = api.live.stream(&stream).await?;
    let names = master::offered(&view.spec.profiles, &api.profiles);
    master_playlist(&api, &stream, &names, "", &query).await
}

/// Whether the caller may watch this.
fn leave(api: &Api, caller: &Caller, stream: &str, profiles: &[&str], query: &Query) -> Result<(), Error> {
    // Of a stream that is not there nobody is told so who may not watch it.
    let watches = match api.live.owner(stream) {
        Ok(owner) => caller.watches(owner.as_deref()),
        Err(_) => caller.watches(None),
    };
    api.viewers.check(caller, watches, query.token.as_deref(), stream, profiles, Timestamp::now())
}

async fn of_variant(
    State(api): State<Api>,
    caller: Caller,
    asker: Asker,
    OfVariant(Place { stream, file }, profile): OfVariant,
    extract::Query(query): extract::Query<Query>,
) -> Result<Response, Error> {
    let meant = with_ladders(&api, &profile);
    leave(&api, &caller, &stream, &meant, &query)?;
    let accept = query.accept()?;
    let definition = matches!(file, File::Stream | File::Playlist | File::Manifest | File::Master);
    if asker.method == Method::HEAD && definition {
        // What it would be is known without an encode.
        api.live.renditions(&stream, &profile).await?;
        return Ok(media::head(file.content_type(), cache(&file)));
    }
    match &file {
        File::Master => {
            let names = api.live.renditions(&stream, &profile).await?;
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            return master_playlist(&api, &stream, &names, "../", &query).await;
        }
        File::Playlist if is_ladder(&api, &profile) => {
            return Ok(redirect(&format!("{}{}", File::Master, query.carried())));
        }
        _ => {}
    }
    // The endless stream is watched as long as it is read.
    let player = (file != File::Stream).then(|| asker.player(&query));
    let watch = if definition {
        watch_or_end(&api, &stream, &profile, &accept, player).await?
    } else {
        let rejoined = api.live.rejoin(&stream, &profile, &accept, player).await;
        rejoined.map_err(|_| Error::no("segment", &file))?
    };
    let text = |text| media::text(text, file.content_type(), cache(&file));
    match &file {
        File::Stream => {
            let reader = watch.output.ts().await.ok_or_else(|| Error::NotAcceptable {
                problem: "MPEG-TS does not carry the codecs of this profile".to_owned(),
                remedy: format!("play {} or {} instead", File::Playlist, File::Manifest),
            })?;
            if let Some(connection) = asker.connection {
                let place = reader.place();
                connection.close_when(async move {
                    // A connection whose other end does not read is never asked for more: it would not find out itself.
                    loop {
                        match place.is_lost() {
                            Some(false) => tokio::time::sleep(LOOK).await,
                            lost => return lost == Some(true),
                        }
                    }
                });
            }
            let mut response = media::head(file.content_type(), cache(&file));
            *response.body_mut() = media::follow(reader, watch, api.stop.clone(), caller.over());
            Ok(response)
        }
        File::Playlist => media_playlist(&api, &watch, &query).await.map(text),
        File::Manifest => dash_manifest(&watch, &query).await.map(text),
        _ => {
            let pieces = piece(&watch.output, &file).await.ok_or_else(|| Error::no("segment", &file))?;
            Ok(media::bytes(&asker.method, &asker.headers, pieces, file.content_type(), cache(&file)))
        }
    }
}

/// Joins the variant. A playlist of one that cannot go on is still that of what there was: players learn from it that it has
/// ended.
async fn watch_or_end(
    api: &Api,
    stream: &str,
    profile: &str,
    accept: &Accept,
    player: Option<Player>,
) -> Result<Watch, Error> {
    let refused = match api.live.watch(stream, profile, accept, player).await {
        Ok(watch) => return Ok(watch),
        Err(refused) => refused,
    };
    let is_over =
        matches!(refused, NotWatched::NoCapacity(_) | NotWatched::NoSource(_) | NotWatched::Failed(_));
    if is_over
        && player.is_some()
        && let Ok(watch) = api.live.rejoin(stream, profile, accept, player).await
    {
        return Ok(watch);
    }
    Err(refused.into())
}

fn cache(file: &File) -> &'static str {
    match file {
        File::Stream => "no-store",
        File::Playlist | File::Manifest | File::Master => PLAYLIST_CACHE,
        File::Packets(_) | File::Fragments(_) | File::Track(..) | File::Part(..) | File::Init(..) => {
            SEGMENT_CACHE
        }
    }
}

fn is_ladder(api: &Api, profile: &str) -> bool {
    api.profiles.get(profile).is_some_and(|profile| matches!(profile.output, Ladder { .. }))
}

/// A profile, and the ladders that it is a rendition of: leave to watch one of them is leave to watch it.
fn with_ladders<'a>(api: &'a Api, profile: &'a str) -> Vec<&'a str> {
    let holds = |ladder: &&Profile| match &ladder.output {
        Ladder { renditions } => renditions.iter().any(|rendition| rendition == profile),
        _ => false,
    };
    let ladders = api.profiles.iter().filter(holds).map(|ladder| ladder.name.as_str());
    std::iter::once(profile).chain(ladders).collect()
}

fn redirect(to: &str) -> Response {
    let mut response = media::head("text/plain", "no-cache");
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    if let Ok(to) = HeaderValue::try_from(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

fn ended(end: ReadEnd) -> Error {
    let problem = match end {
        ReadEnd::Ended(reason) => format!("the stream has ended: {reason}"),
        ReadEnd::TooSlow => "the stream has ended".to_owned(),
    };
    Error::Unavailable { problem }
}

async fn format(api: &Api, watch: &Watch) -> Result<Format, Error> {
    let packaging = api.profiles.get(&watch.profile).and_then(|profile| profile.output.packaging());
    let parameters = watch.output.parameters().await.map_err(ended)?;
    Ok(playlist::format(&parameters, packaging.is_some_and(|packaging| packaging.low_latency)))
}

/// Waits until there is something to play.
async fn playable(output: &Output, format: Format) -> Result<Window, Error> {
    let deadline = Instant::now() + FIRST_SEGMENT;
    loop {
        let window = output.window(format);
        if playlist::is_playable(&window) || window.ended {
            return Ok(window);
        }
        let open = window.segments.last().map(|line| line.sequence);
        let reached = output.reached(format, open.unwrap_or(0), None);
        let waited = timeout_at(deadline, reached).await;
        let late = waited.is_err();
        if let Ok(result) = waited {
            result.map_err(ended)?;
        }
        // Nothing to wait for, or it did not come: a playlist without segments would be an error to most players.
        if late || (open.is_none() && output.window(format).segments.is_empty()) {
            return Err(Error::Unavailable { problem: "the first segment is not there yet".to_owned() });
        }
    }
}

async fn media_playlist(api: &Api, watch: &Watch, query: &Query) -> Result<String, Error> {
    let reload = query.reload()?;
    let output = &watch.output;
    let format = format(api, watch).await?;
    let mut window = playable(output, format).await?;
    let low_latency = format == Format::Fmp4 && window.part_target.is_some();
    if let Some((sequence, part)) = reload.filter(|_| low_latency) {
        match playlist::reload(&window, sequence, part) {
            Reload::Now => {}
            Reload::TooFar => {
                return Err(query::nonsense(format!("segment {sequence} is too far ahead of the playlist")));
            }
            Reload::Wait => {
                let reached = output.reached(format, sequence, part);
                match timeout(playlist::patience(&window), reached).await {
                    // The end is something new to tell.
                    Ok(Ok(()) | Err(_)) => window = output.window(format),
                    Err(_) => {
                        let problem = format!("segment {sequence} did not come in time");
                        return Err(Error::Unavailable { problem });
                    }
                }
            }
        }
    }
    let inits = inits(output, &window)
        .into_iter()
        .map(|(number, bytes)| (number, Init::of(number, &bytes)))
        .collect();
    Ok(playlist::media(&window, format, &inits, &query.carried()).text())
}

/// The init segments that a playlist needs.
fn inits(output: &Output, window: &Window) -> BTreeMap<u32, bytes::Bytes> {
    let mut inits = BTreeMap::new();
    for line in &window.segments {
        if !inits.contains_key(&line.init)
            && let Some(bytes) = output.init(line.init)
        {
            inits.insert(line.init, bytes);
        }
    }
    inits
}

async fn dash_manifest(watch: &Watch, query: &Query) -> Result<String, Error> {
    let output = &watch.output;
    let parameters = output.parameters().await.map_err(ended)?;
    if playlist::format(&parameters, true) != Format::Fmp4 {
        return Err(Error::NotAcceptable {
            problem: "fragmented MP4 does not carry the codecs of this profile".to_owned(),
            remedy: format!("play {} or {} instead", File::Stream, File::Playlist),
        });
    }
    // Finished segments are all that a manifest has.
    let window = playable(output, Format::Fmp4).await?;
    let described = |(number, bytes): (u32, bytes::Bytes)| {
        let tracks = output.init_tracks(number).unwrap_or_default();
        let of = |kind: Kind| {
            let track = manifest::track_of(kind, &tracks)?;
            let (_, parameters) = tracks.iter().find(|(id, _)| *id == track)?;
            Some((parameters.clone(), Init::of(number, &fmp4::select(&bytes, track)?)))
        };
        (number, Described { tracks: [Kind::Video, Kind::Audio].into_iter().filter_map(of).collect() })
    };
    let inits = inits(output, &window).into_iter().map(described).collect();
    let now = Timestamp::now().as_millisecond();
    Ok(manifest::manifest(&window, &inits, output.figures().bitrate, now, &query.carried()).text())
}

/// The bytes of a segment, part or init segment; `None`: it is not there (any more), or it is not of this variant.
async fn piece(output: &Output, file: &File) -> Option<Vec<bytes::Bytes>> {
    match file {
        File::Packets(sequence) => Some(output.segment(Format::MpegTs, *sequence)?.pieces),
        // Whoever asks for fragments keeps them being made: the window is asked for in any case.
        File::Fragments(sequence) => {
            output.window(Format::Fmp4);
            Some(output.segment(Format::Fmp4, *sequence)?.pieces)
        }
        File::Track(kind, place) => {
            let window = output.window(Format::Fmp4);
            let is = |line: &&SegmentLine| line.run.1 == place.run && line.start == place.start;
            let line = window.segments.iter().find(is)?;
            let track = manifest::track_of(*kind, &output.init_tracks(line.init)?)?;
            let all = output.segment(Format::Fmp4, line.sequence)?.pieces;
            Some(all.iter().filter_map(|part| fmp4::select(part, track)).collect())
        }
        File::Part(sequence, part) => {
            let patience = playlist::patience(&output.window(Format::Fmp4));
            // The one that was hinted comes soon; what is nonsense is not waited for.
            _ = timeout(patience, output.reached(Format::Fmp4, *sequence, Some(*part))).await;
            Some(output.part(*sequence, *part)?.pieces)
        }
        File::Init(kind, init) => {
            let mut bytes = output.init(init.number)?;
            if let Some(kind) = kind {
                let track = manifest::track_of(*kind, &output.init_tracks(init.number)?)?;
                bytes = fmp4::select(&bytes, track)?;
            }
            (Init::of(init.number, &bytes) == *init).then(|| vec![bytes])
        }
        File::Stream | File::Playlist | File::Master | File::Manifest => None,
    }
}

async fn master_playlist(
    api: &Api,
    stream: &str,
    names: &[&str],
    folder: &str,
    query: &Query,
) -> Result<Response, Error> {
    let accept = query.accept()?;
    let view = api.live.stream(stream).await?;
    let mut offers = Vec::new();
    for name in names {
        let running = view.variants.iter().find(|variant| variant.profile == *name);
        let parameters = match running {
            Some(running) if running.state == VariantState::Live => parameters(api, stream, name).await,
            _ => Vec::new(),
        };
        let rendition = api.profiles.renditions(name).into_iter().next().map(|(_, rendition)| rendition);
        offers.push(Offer { profile: name, rendition, running, parameters });
    }
    let offers = master::playable(offers, &accept);
    let master = master::master(&offers, folder, view.source_state.bitrate, &accept, &query.carried());
    Ok(media::text(master.text(), File::Master.content_type(), cache(&File::Master)))
}

/// Of a variant that runs.
async fn parameters(api: &Api, stream: &str, profile: &str) -> Vec<Parameters> {
    let found = timeout(RUNNING, async {
        let watch = api.live.watch(stream, profile, &Accept::default(), None).await.ok()?;
        watch.output.parameters().await.ok()
    });
    found.await.ok().flatten().unwrap_or_default()
}
