//! Files that became jobs by themselves.

use futures::{FutureExt as _, future::BoxFuture};

use super::{
    Error, WatchStore, WatchedRecord,
    engine::{Engine, Query, failed},
    rows,
};

const PUT: &str = "
INSERT INTO watched (place, object, version, job, submitted, seen_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (place, object, version) DO UPDATE SET submitted = excluded.submitted";

impl<E: Engine> WatchStore for E {
    fn watched<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<Vec<WatchedRecord>, Error>> {
        async move {
            let query = Query::new("SELECT * FROM watched WHERE place = $1 ORDER BY object, version");
            let found = self.read(query.bind(place)).await.map_err(failed("list what was found"))?;
            found.iter().map(|row| rows::read_watched(row)).collect()
        }
        .boxed()
    }

    fn put_watched<'a>(&'a self, record: &'a WatchedRecord) -> BoxFuture<'a, Result<(), Error>> {
        let query = Query::new(PUT)
            .bind(&record.place)
            .bind(&record.object)
            .bind(&record.version)
            .bind(record.job.to_string())
            .bind(record.submitted)
            .bind(record.seen_at);
        async move { self.change(query).await.map(drop).map_err(failed("note a file that was found")) }
            .boxed()
    }
}
