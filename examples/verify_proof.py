"""Verify what `greenroom prove` wrote: `python3 verify_proof.py PROOF.json PUBLIC_KEY …` (Python 3.9, nothing else).

Exit 0: proven. 1: refused. 3: it holds together, but no key was given, so whoever wrote it may have signed it himself.
"""

import hashlib
import json
import sys

P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493  # Ed25519, as in RFC 8032
D = -121665 * pow(121666, -1, P) % P


def need(holds, what):
    return holds or sys.exit(f"REFUSED: {what}")


def canonical(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def add(a, b):
    t = D * a[0] * b[0] * a[1] * b[1]
    x, y = (a[0] * b[1] + b[0] * a[1]) * pow(1 + t, -1, P), (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, P)
    return x % P, y % P


def times(n, a):
    return (0, 1) if n == 0 else add(times(n - 1, a), a) if n % 2 else times(n // 2, add(a, a))


def point(data):
    odd, y = divmod(int.from_bytes(data, "little"), 2**255)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if (x * x - square) % P == 0 else x * pow(2, (P - 1) // 4, P) % P
    need(y < P and (x * x - square) % P == 0 and len(data) == 32, "a key or a signature is no point of the curve")
    return (x if x % 2 == odd else P - x), y


def signed(key, message, signature):
    s = int.from_bytes(signature[32:], "little")
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    right = add(point(signature[:32]), times(h, point(key)))
    return len(signature) == 64 and s < ORDER and times(s, point(bytes([0x58] + [0x66] * 31))) == right


def root(node, index, size, path):
    while size > 1:  # beside an odd one stands the left, beside an even one the right, if there is one
        if index % 2 or index + 1 < size:
            other = bytes.fromhex(path.pop(0))
            node = hashlib.sha256(b"\1" + (other + node if index % 2 else node + other)).digest()
        index, size = index // 2, (size + 1) // 2
    return "" if path or index else node.hex()


def check(proof, keys):
    entries, heads, days = proof["entries"], ["0" * 64], [seal["day"]["day"] for seal in proof["seals"]]
    need(canonical([proof["object"], proof["version"], len(proof)]) == b'["usage_proof",1,5]', "another kind of file")
    for entry in entries:  # each is hashed with the hash of the one before
        heads.append(hashlib.sha256(heads[-1].encode() + canonical(entry)).hexdigest())
        need(entry["session_id"] == proof["session_id"] == entries[0]["session_id"], "an entry of another session")
    for seal in proof["seals"]:  # the chain as it was at that day's end
        day, key, signature, path, n = (seal[name] for name in ("day", "public_key", "signature", "path", "entries"))
        need(len(seal) == 6 and type(seal["index"]) is int, "more, or another, than is proven")
        need(all(bytes.fromhex(text).hex() == text for text in (key, signature, *path)), "digits that are none of ours")
        leaf = {name: sum(entry[name] for entry in entries[:n]) for name in ("billable_ms", "credit_us", "frames")}
        leaf.update({name: entries[0][name] for name in ("account_id", "session_id")}, entries=n, hash=heads[n])
        node = hashlib.sha256(b"\0" + canonical(leaf)).digest()
        need(root(node, seal["index"], day["leaves"], list(path)) == day["root"], f"the way to {day['day']}'s root")
        need(signed(bytes.fromhex(key), canonical(day), bytes.fromhex(signature)), f"the signature of {day['day']}")
        need(key in keys or not keys, f"{key} is none of your keys")
    need(n == len(entries) and days == sorted({*days}), "entries that are in no day, or days out of order")
    return f"{proof['session_id']}: {leaf['credit_us'] / 6e7:.6f} credits for {leaf['billable_ms']} ms, {day['day']}"


if __name__ == "__main__":
    try:
        content = open(sys.argv[1], "rb").read()  # noqa: SIM115 - it ends here
        need(canonical(json.loads(content)) == content, "not as it was written")
        print(check(json.loads(content), sys.argv[2:]))
    except Exception as wrong:
        need(False, repr(wrong))
    sys.exit(0 if sys.argv[2:] else 3)
