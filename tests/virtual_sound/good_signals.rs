//! Health: good signals of every kind have no fault.

use micring::sound::words::{Found, Words};

use crate::rooms::{PACKETS_A_SECOND, array, packets, seconds, signals};

#[test]
fn words_of_good_signals_show_no_fault() {
    for (name, sound, level, ambient) in signals() {
        let heard = packets(&array(1, sound, level, ambient), seconds(4) * PACKETS_A_SECOND);
        for window in heard.iter().flat_map(|packets| packets.chunks_exact(PACKETS_A_SECOND / 3)) {
            let mut words = Words::default();
            window.iter().for_each(|packet| words.add(packet));
            assert_eq!(words.found(), Some(Found::default()), "{name}");
        }
    }
}
