use super::*;

fn counting<const N: usize>(from: u8) -> [u8; N] {
    std::array::from_fn(|i| from + u8::try_from(i).unwrap())
}

fn hexed(bytes: &[u8]) -> String {
    crate::store::hex(bytes)
}

fn place<'a>(instance: &'a [u8; 16], row: &'a str, column: &'a str, generation: u64) -> Place<'a> {
    Place { instance, table: "connection_secret", row, column, generation }
}

/// K1: the derivation's vector of the reauthorization protocol: `K_reply` of master 00..1f and
/// instance 20..2f.
#[test]
fn subkeys_match_the_published_vector() {
    let master = Key::new(Box::new(counting(0)));
    let key = subkey(&master, &counting(0x20), "crmsync reply-token v1").unwrap();
    assert_eq!(
        hexed(key.expose_secret()),
        "88e5aa843eb832e31e40355a92041a661ae6ef9819d4edc4357753afc6315477"
    );
}

/// K1: draft-irtf-cfrg-xchacha-03, appendix A.3.1, through the crate as we use it.
#[test]
fn the_cipher_matches_the_published_vector() {
    let cipher = XChaCha20Poly1305::new_from_slice(&counting::<32>(0x80)).unwrap();
    let nonce = XNonce::from(counting::<24>(0x40));
    let msg = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
    let sealed = cipher.encrypt(&nonce, Payload { msg, aad: &aad }).unwrap();
    assert_eq!(hexed(&sealed[..16]), "bd6d179d3e83d43b9576579493c0e939");
    assert_eq!(hexed(&sealed[sealed.len() - 16..]), "c0875924c1c7987947deafd8780acf49");
}

/// K1: what a place looks like in bytes, and a whole blob, frozen.
#[test]
fn associated_data_and_blob_are_frozen() {
    let instance = counting(0x20);
    let p = place(&instance, "c1", "token", 0x0102);
    assert_eq!(
        hexed(&p.associated()),
        "63726d73796e632f61642f763100202122232425262728292a2b2c2d2e2f\
         0011636f6e6e656374696f6e5f736563726574000263310005746f6b656e0000000000000102"
            .replace(' ', "")
    );
    let key = Key::new(Box::new(counting(0)));
    let blob = seal_with(&key, 0xAABB_CCDD, &p, &pad(b"secret"), &counting(0x40)).unwrap();
    assert_eq!(blob.len(), 1 + 4 + 24 + 64 + 16);
    assert_eq!(hexed(&blob[..29]), "01aabbccdd404142434445464748494a4b4c4d4e4f5051525354555657");
    insta::assert_snapshot!(hexed(&blob[29..]));
    let plain = open(&key, 0xAABB_CCDD, &p, &blob).unwrap();
    assert_eq!(unpad(&plain), Some(&b"secret"[..]));
}

/// K2 and K3: any other place, key id or a single flipped byte, and it does not open.
#[test]
fn anything_changed_does_not_open() {
    let (instance, other) = (counting(0x20), counting(0x21));
    let key = Key::new(Box::new(counting(0)));
    let p = place(&instance, "c1", "token", 7);
    let blob = seal(&key, 1, &p, &pad(b"secret")).unwrap();
    assert!(open(&key, 1, &p, &blob).is_some());
    assert!(open(&key, 2, &p, &blob).is_none());
    for q in [
        place(&other, "c1", "token", 7),
        place(&instance, "c2", "token", 7),
        place(&instance, "c1", "password", 7),
        place(&instance, "c1", "token", 6),
        place(&instance, "c1t", "oken", 7),
        Place { table: "dek", ..p },
    ] {
        assert!(open(&key, 1, &q, &blob).is_none(), "{q:?}");
    }
    for i in 0..blob.len() {
        let mut bad = blob.clone();
        bad[i] ^= 1;
        assert!(open(&key, 1, &p, &bad).is_none(), "byte {i}");
        assert!(open(&key, 1, &p, &blob[..i]).is_none(), "cut at {i}");
    }
}

#[test]
fn padding_hides_the_length_and_comes_off() {
    for n in [0, 1, 62, 63, 64, 65, 127, 500] {
        let plain = vec![0u8; n];
        let padded = pad(&plain);
        assert_eq!(padded.len() % 64, 0);
        assert_eq!(unpad(&padded), Some(&plain[..]), "{n}");
    }
    assert_eq!(pad(b"a").len(), pad(b"a long password with many words").len());
    assert_eq!((unpad(&[]), unpad(&[0; 64]), unpad(&[1; 64])), (None, None, None));
}
