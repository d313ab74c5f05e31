//! Who is active when nobody is.

use mux::Ticks;

use super::{Delivery, Refusal, Release, Splicer, closed, feed::Standing};

impl Splicer {
    /// Looks for somebody to deliver, until nobody can.
    pub(super) fn elect(&mut self, out: &mut Vec<Release>) {
        while self.active.is_none() {
            self.forget_finished();
            let Some(index) = self.candidate() else { return };
            self.activate(index);
            self.deliver(out);
        }
    }

    /// Whoever leads the generation that is being delivered; else a spare that can go on exactly where it broke off; else
    /// whoever begins the next generation.
    fn candidate(&self) -> Option<usize> {
        let current = self.line.generation;
        let of = |generation: u32, standing: Standing| {
            self.feeds.iter().position(|feed| feed.generation == generation && feed.standing == standing)
        };
        if let Some(current) = current {
            let spare = |standing| {
                let mut feeds = self.feeds.iter().enumerate();
                feeds.find_map(|(index, feed)| {
                    let can =
                        feed.generation == current && feed.standing == standing && self.can_go_on(index);
                    can.then_some(index)
                })
            };
            let found = of(current, Standing::Leading)
                .or_else(|| spare(Standing::Standby))
                .or_else(|| spare(Standing::Successor));
            if found.is_some() {
                return found;
            }
        }
        let later = |feed: &&super::Feed| {
            feed.standing != Standing::Retired && current.is_none_or(|current| feed.generation > current)
        };
        let next = self.feeds.iter().filter(later).map(|feed| feed.generation).min()?;
        of(next, Standing::Leading)
            .or_else(|| of(next, Standing::Standby))
            .or_else(|| of(next, Standing::Successor))
    }

    /// It has a key frame where the line ends, or will have one: the line ends where one is due, and it has not come that far.
    pub(super) fn can_go_on(&self, index: usize) -> bool {
        let feed = &self.feeds[index];
        let (Some(edge), Some(shown)) = (self.line.edge(), self.line.shown()) else {
            // Nothing was delivered of this generation: any of its frames will do.
            return feed.reference().is_some_and(|queue| queue.first.is_some());
        };
        if !self.line.is_of(feed.generation) || !self.line.others_reach(feed) {
            return false;
        }
        let is_before =
            || feed.reference().and_then(|queue| queue.newest).is_some_and(|newest| newest < edge.floor);
        feed.has_key(edge.next, edge.floor, self.line.tolerance())
            || (!feed.ended && is_before() && closed::is_boundary(shown, edge.next, self.grid))
    }

    /// What is left of a generation that has ended properly is given up once the next one is there.
    pub(super) fn forget_finished(&mut self) {
        if let Some(current) = self.line.generation
            && self.line.finished
            && self.feeds.iter().any(|feed| feed.generation > current)
        {
            for feed in self.feeds.iter_mut().filter(|feed| feed.generation <= current) {
                feed.retire();
                self.active.take_if(|active| *active == feed.id);
            }
        }
    }

    pub(super) fn activate(&mut self, index: usize) {
        let feed = &mut self.feeds[index];
        if self.line.generation != Some(feed.generation) {
            self.line.begin(feed.generation);
        }
        self.active = Some(feed.id);
        feed.standing = Standing::Leading;
        if self.adopt(index).is_err() {
            // It is told when it writes again.
            self.feeds[index].retire();
            self.active = None;
            return;
        }
        if self.line.has_begun() {
            self.seams.count += 1;
        }
        self.feeds[index].join(&self.line);
    }

    /// The tracks of the line are those of the active feed, if nothing was delivered of others.
    pub(super) fn adopt(&mut self, index: usize) -> Result<(), Refusal> {
        let feed = &mut self.feeds[index];
        let generation = feed.generation;
        self.line.adopt(feed)?;
        for (other, feed) in self.feeds.iter_mut().enumerate() {
            if other != index && feed.generation == generation && self.line.map(feed).is_err() {
                feed.retire();
            }
        }
        Ok(())
    }

    /// Somebody who is not active gave something.
    pub(super) fn spare_gave(&mut self, index: usize, out: &mut Vec<Release>) {
        let feed = &self.feeds[index];
        let Some(active) = self.active.and_then(|active| self.index(active)) else {
            if feed.is_spare() {
                self.elect(out);
            }
            return;
        };
        match feed.standing {
            Standing::Successor => self.deliver(out),
            Standing::Standby if self.is_overtaken(active, index) => {
                let behind = &mut self.feeds[active];
                behind.standing = Standing::Standby;
                self.activate(index);
                self.deliver(out);
            }
            Standing::Standby | Standing::Leading | Standing::Retired => {}
        }
    }

    /// The active one is more than a GOP behind a standby that can go on where it is.
    fn is_overtaken(&self, active: usize, standby: usize) -> bool {
        let newest = |index: usize| self.feeds[index].reference().and_then(|queue| queue.newest);
        let behind = match (newest(active), newest(standby)) {
            (Some(active), Some(standby)) => standby - active,
            (None, Some(_)) => self.grid + Ticks(1),
            (_, None) => Ticks::ZERO,
        };
        self.delivery == Delivery::Gops
            && self.feeds[active].generation == self.feeds[standby].generation
            && self.line.has_begun()
            && behind > self.grid
            && self.can_go_on(standby)
    }
}
