//! The gate in front of the file: what redb sees through it, and what the file sees of it.

use std::sync::Arc;

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::Rng;
use super::crash::CrashBackend;
use crate::store::backend::GatedBackend;
use crate::store::metrics::StoreMetrics;

fn bytes(backend: &impl StorageBackend) -> Vec<u8> {
    let mut bytes = vec![0xee; backend.len().unwrap() as usize];
    backend.read(0, &mut bytes).unwrap();
    bytes
}

fn change(rng: &mut Rng, backends: [&dyn StorageBackend; 2]) {
    let len = backends[0].len().unwrap();
    if rng.one_in(4) {
        let len = rng.below(300);
        backends.iter().for_each(|backend| backend.set_len(len).unwrap());
    } else if len > 0 {
        let offset = rng.below(len);
        let data: Vec<u8> = (0..rng.below(len - offset + 1)).map(|_| rng.next() as u8).collect();
        backends.iter().for_each(|backend| backend.write(offset, &data).unwrap());
    }
    backends.iter().for_each(|backend| backend.sync_data().unwrap());
}

#[test]
fn reading_through_a_closed_gate_sees_what_is_held_back() {
    let mut rng = Rng(21);
    for _ in 0..200 {
        let file = CrashBackend::with_image((0..rng.below(200)).map(|i| i as u8).collect());
        let before = bytes(&file);
        let expected = InMemoryBackend::new();
        expected.set_len(before.len() as u64).unwrap();
        expected.write(0, &before).unwrap();
        let metrics = Arc::new(StoreMetrics::default());
        let (gated, gate) = GatedBackend::new(file.clone(), metrics).unwrap();
        for _ in 0..20 {
            change(&mut rng, [&gated, &expected]);
            assert_eq!(bytes(&gated), bytes(&expected));
            let len = gated.len().unwrap();
            let (start, end) = (rng.below(len + 1), rng.below(len + 1));
            let mut part = vec![0xee; end.saturating_sub(start) as usize];
            gated.read(start, &mut part).unwrap();
            assert_eq!(part, bytes(&expected)[start as usize..][..part.len()]);
            assert!(gated.read(len, &mut [0]).is_err());
        }
        assert_eq!(bytes(&file), before);
        gate.open().unwrap();
        assert_eq!(bytes(&file), bytes(&expected));
        change(&mut rng, [&gated, &expected]);
        assert_eq!(bytes(&file), bytes(&expected));
    }
}

#[test]
fn a_gate_that_broke_while_it_opened_lets_nothing_more_through() {
    let file = CrashBackend::with_image(vec![0; 100]);
    let (gated, gate) = GatedBackend::new(file.clone(), Arc::default()).unwrap();
    gated.write(0, &[1]).unwrap();
    gated.write(50, &[2]).unwrap();
    file.cut_power_after(1);
    gate.open().unwrap_err();
    file.restore_power();
    gated.write(60, &[3]).unwrap_err();
    gated.sync_data().unwrap_err();
    assert_eq!((bytes(&file)[0], bytes(&file)[50], bytes(&file)[60]), (1, 0, 0));
}

#[test]
fn no_more_is_held_back_than_the_limit() {
    let file = CrashBackend::default();
    let (gated, _gate) = GatedBackend::new(file.clone(), Arc::default()).unwrap();
    let piece = vec![7; 1 << 20];
    for i in 0..20 {
        gated.write(i << 20, &piece).unwrap();
    }
    assert_eq!(file.len().unwrap(), 20 << 20);
    assert_eq!(bytes(&file), bytes(&gated));
}
