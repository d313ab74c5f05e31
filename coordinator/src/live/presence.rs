//! Who watches a variant.
//!
//! Whoever reads the endless stream is there while its connection lives. A player of HLS or DASH comes and goes with each
//! request: it is there until it has asked for nothing for a while.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use common::profile::Packaging;

/// Nothing asked for so long, at least, and a player is gone: twice what players of DASH are told to come again after.
const GONE: Duration = Duration::from_secs(10);
/// A player that keeps up asks for a segment as often as one is made; it may be late by so many.
const SEGMENTS: u32 = 3;
/// Players that are known of a variant. Those beyond count while a request of theirs is open.
const MAX_PLAYERS: usize = 1 << 16;

/// One player, as far as its requests can be told from others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Player(u64);

impl Player {
    /// `of`: everything that its requests have in common.
    #[must_use]
    pub fn known_by(of: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        of.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Those who watch a variant now; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    gone_after: Duration,
    here: Arc<Mutex<Here>>,
}

#[derive(Debug, Default)]
struct Here {
    /// Each is a viewer.
    connections: u32,
    players: HashMap<Player, Asking>,
}

#[derive(Debug)]
struct Asking {
    /// Requests that are being answered.
    open: u32,
    /// When it came, or its last answer was given.
    last: Instant,
}

/// Counted while it is held; a player a while longer.
#[derive(Debug)]
pub(super) struct Viewer {
    presence: Presence,
    player: Option<Player>,
}

impl Presence {
    pub(super) fn new(packaging: &Packaging) -> Self {
        let segment = Duration::from_millis(packaging.segment_ms.into());
        Self { gone_after: GONE.max(segment * SEGMENTS), here: Arc::default() }
    }

    /// `player`: `None` for a connection that is a viewer by itself.
    pub(super) fn come(&self, player: Option<Player>, now: Instant) -> Viewer {
        let mut here = self.lock();
        let is_full = here.players.len() >= MAX_PLAYERS;
        let player = player.filter(|player| !is_full || here.players.contains_key(player));
        match player {
            None => here.connections += 1,
            Some(player) => {
                let asking = here.players.entry(player).or_insert(Asking { open: 0, last: now });
                *asking = Asking { open: asking.open + 1, last: now };
            }
        }
        drop(here);
        Viewer { presence: self.clone(), player }
    }

    /// Forgets players that are gone. Looks at all of them.
    pub(super) fn forget_gone(&self, now: Instant) {
        let is_here =
            |asking: &Asking| asking.open > 0 || now.saturating_duration_since(asking.last) < self.gone_after;
        self.lock().players.retain(|_, asking| is_here(asking));
    }

    /// How many there are, with those who went since [`Presence::forget_gone`].
    pub(super) fn viewers(&self) -> u32 {
        let here = self.lock();
        // Bounded above.
        here.connections + here.players.len() as u32
    }

    fn lock(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut here = self.presence.lock();
        match self.player {
            None => here.connections -= 1,
            Some(player) => {
                // Its request is open until now, so it was not forgotten.
                if let Some(asking) = here.players.get_mut(&player) {
                    *asking = Asking { open: asking.open - 1, last: Instant::now() };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(segment_ms: u32) -> Presence {
        Presence::new(&Packaging { segment_ms, ..Packaging::default() })
    }

    fn viewers(presence: &Presence, now: Instant) -> u32 {
        presence.forget_gone(now);
        presence.viewers()
    }

    fn player(name: &str) -> Option<Player> {
        Some(Player::known_by(name))
    }

    #[test]
    fn a_connection_is_a_viewer_as_long_as_it_lives() {
        let (presence, now) = (presence(2_000), Instant::now());
        let (one, two) = (presence.come(None, now), presence.come(None, now));
        assert_eq!(viewers(&presence, now + Duration::from_secs(3600)), 2);
        drop(one);
        assert_eq!(viewers(&presence, now), 1);
        drop(two);
        assert_eq!(viewers(&presence, now), 0);
    }

    #[test]
    fn a_player_is_one_viewer_until_it_has_asked_for_nothing_for_a_while() {
        let (presence, now) = (presence(2_000), Instant::now());
        let (playlist, segment) = (presence.come(player("a"), now), presence.come(player("a"), now));
        let other = presence.come(player("b"), now);
        assert_eq!(viewers(&presence, now), 2);
        // A request that is open for long, as one that waits for the first picture.
        assert_eq!(viewers(&presence, now + 3 * GONE), 2);
        drop((playlist, other));
        assert_eq!(viewers(&presence, now + 3 * GONE), 1);
        drop(segment);
        let answered = Instant::now();
        assert_eq!(viewers(&presence, answered + GONE / 2), 1);
        drop(presence.come(player("a"), answered));
        assert_eq!(viewers(&presence, Instant::now() + GONE), 0);
        assert!(presence.lock().players.is_empty(), "it is forgotten");
    }

    #[test]
    fn who_plays_long_segments_asks_seldom() {
        let (presence, now) = (presence(10_000), Instant::now());
        drop(presence.come(player("a"), now));
        assert_eq!(viewers(&presence, now + Duration::from_secs(29)), 1);
        assert_eq!(viewers(&presence, Instant::now() + Duration::from_secs(30)), 0);
    }

    #[test]
    fn a_flood_of_names_is_not_remembered() {
        let (presence, now) = (presence(2_000), Instant::now());
        for number in 0..=MAX_PLAYERS {
            drop(presence.come(Some(Player::known_by(number)), now));
        }
        assert_eq!(viewers(&presence, now) as usize, MAX_PLAYERS);
        let beyond = presence.come(player("beyond"), now);
        let known = presence.come(Some(Player::known_by(0_usize)), now);
        assert_eq!(viewers(&presence, now) as usize, MAX_PLAYERS + 1);
        drop((beyond, known));
        assert_eq!(viewers(&presence, now) as usize, MAX_PLAYERS);
    }
}
