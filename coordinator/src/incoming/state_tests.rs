use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { max_bytes: 1000, expiry_ms: 100 };

fn new(length: Option<u64>) -> NewUpload {
    NewUpload { length, filename: "../a.mp4".to_owned(), metadata: String::new(), concat: Concat::Alone }
}

fn upload(length: Option<u64>, received: u64) -> UploadRecord {
    UploadRecord { received, ..create(UploadId::new(), new(length), LIMITS, 0).unwrap() }
}

fn part(received: u64, length: u64) -> UploadRecord {
    let mut part = upload(Some(length), received);
    part.details.concat = Concat::Partial;
    part
}

fn append(offset: u64, length: Option<u64>, bytes: Option<u64>) -> Append {
    Append { offset, length, bytes }
}

#[test]
fn an_upload_begins_with_nothing_and_a_name_without_a_path() {
    let created = upload(Some(10), 0);
    assert_eq!((created.received, created.expires_at, created.details.filename.as_str()), (0, 100, "a.mp4"));
    assert_eq!(create(UploadId::new(), new(Some(0)), LIMITS, 0), Err(Refusal::Empty));
    assert!(matches!(create(UploadId::new(), new(Some(1001)), LIMITS, 0), Err(Refusal::TooLarge { .. })));
}

#[test]
fn bytes_belong_where_the_last_ones_ended() {
    let upload = upload(Some(10), 4);
    assert_eq!(append(4, None, Some(6)).admit(&upload, LIMITS), Ok((Some(10), 6)));
    for given in [0, 3, 5, 10, u64::MAX] {
        let refused = append(given, None, Some(1)).admit(&upload, LIMITS);
        assert_eq!(refused, Err(Refusal::Offset { given, received: 4 }));
    }
    assert_eq!(
        append(4, None, Some(7)).admit(&upload, LIMITS),
        Err(Refusal::Overrun { offset: 4, bytes: 7, length: 10 })
    );
}

#[test]
fn a_length_is_said_once() {
    let open = upload(None, 4);
    assert_eq!(append(4, Some(4), Some(0)).admit(&open, LIMITS), Ok((Some(4), 0)));
    assert_eq!(append(4, Some(9), None).admit(&open, LIMITS), Ok((Some(9), 5)));
    assert_eq!(append(4, None, None).admit(&open, LIMITS), Ok((None, 996)));
    assert!(matches!(append(4, Some(3), None).admit(&open, LIMITS), Err(Refusal::Short { .. })));
    assert!(matches!(append(4, Some(2000), None).admit(&open, LIMITS), Err(Refusal::TooLarge { .. })));
    assert!(matches!(append(4, None, Some(997)).admit(&open, LIMITS), Err(Refusal::TooLarge { .. })));
    let said = upload(Some(10), 4);
    assert!(append(4, Some(10), None).admit(&said, LIMITS).is_ok());
    assert!(matches!(append(4, Some(11), None).admit(&said, LIMITS), Err(Refusal::Length { .. })));
}

#[test]
fn only_whole_parts_are_put_together() {
    let (one, two) = (part(4, 4), part(6, 6));
    assert_eq!(concatenate([Ok(&one), Ok(&two), Ok(&one)], LIMITS), Ok(14));
    assert!(matches!(concatenate([Ok(&part(1, 6))], LIMITS), Err(Refusal::Unfinished(_))));
    assert!(matches!(concatenate([Ok(&upload(Some(4), 4))], LIMITS), Err(Refusal::NotPartial(_))));
    assert_eq!(concatenate([Err("x".to_owned())], LIMITS), Err(Refusal::NoSuchUpload("x".to_owned())));
    assert_eq!(concatenate([], LIMITS), Err(Refusal::Empty));
    let large = part(600, 600);
    assert!(matches!(concatenate([Ok(&large), Ok(&large)], LIMITS), Err(Refusal::TooLarge { .. })));
    let mut made = upload(Some(4), 4);
    made.details.concat = Concat::Final("final;x".to_owned());
    assert_eq!(append(4, None, Some(0)).admit(&made, LIMITS), Err(Refusal::Final));
}

#[test]
fn what_gets_no_more_bytes_expires_unless_it_is_an_object() {
    let mut upload = upload(Some(10), 0);
    assert!(!is_expired(&upload, 99) && is_expired(&upload, 100));
    advance(&mut upload, 10, LIMITS, 50);
    assert!(is_whole(&upload) && !is_expired(&upload, 149) && is_expired(&upload, 150));
    upload.placed = true;
    assert!(!is_expired(&upload, 1000));
}

/// What a client may do.
#[derive(Debug, Clone)]
enum Step {
    /// Offset relative to the truth, length, bytes announced, bytes that really come.
    Append(i64, Option<u64>, Option<u64>, u64),
    Time(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![4 => Just(0_i64), 1 => -3..3_i64];
    let length = prop::option::weighted(0.2, 0..1200_u64);
    let bytes = prop::option::of(0..300_u64);
    prop_oneof![
        8 => (offset, length, bytes, 0..300_u64).prop_map(|(at, length, bytes, come)| Step::Append(at, length, bytes, come)),
        1 => (0..50_i64).prop_map(Step::Time),
    ]
}

proptest! {
    /// Whatever is sent: the received bytes only grow, never past the length or the limit, a length never changes, and what is
    /// whole takes nothing more.
    #[test]
    fn an_upload_never_holds_what_it_should_not(length in prop::option::of(1..1000_u64), steps in prop::collection::vec(step(), 0..40)) {
        let mut upload = upload(length, 0);
        let mut now = 0;
        for step in steps {
            let before = upload.clone();
            match step {
                Step::Time(passes) => now += passes,
                Step::Append(at, length, bytes, come) => {
                    let offset = upload.received.saturating_add_signed(at);
                    if let Ok((length, room)) = (Append { offset, length, bytes }).admit(&upload, LIMITS) {
                        prop_assert_eq!(offset, upload.received);
                        prop_assert!(bytes.is_none_or(|bytes| bytes <= room));
                        prop_assert!(length.is_none_or(|length| upload.received + room == length));
                        upload.length = length;
                        advance(&mut upload, come.min(bytes.unwrap_or(come)).min(room), LIMITS, now);
                    }
                }
            }
            prop_assert!(upload.received >= before.received);
            prop_assert!(upload.received <= upload.length.unwrap_or(LIMITS.max_bytes).min(LIMITS.max_bytes));
            prop_assert!(before.length.is_none() || upload.length == before.length);
            prop_assert!(!is_whole(&before) || upload.received == before.received);
            prop_assert!(upload.expires_at >= before.expires_at);
        }
    }

    #[test]
    fn what_is_put_together_is_as_long_as_its_parts(lengths in prop::collection::vec(1..200_u64, 1..8)) {
        let parts: Vec<_> = lengths.iter().map(|length| part(*length, *length)).collect();
        let sum: u64 = lengths.iter().sum();
        let made = concatenate(parts.iter().map(Ok), LIMITS);
        prop_assert_eq!(made.ok(), (sum <= LIMITS.max_bytes).then_some(sum));
    }
}
