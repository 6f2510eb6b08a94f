"""How the ends of an IKE SA prove who they are: secrets, signatures, and what binds them to names.

`trust` is what the configuration says, `identity` which names a certificate proves, `proof` the
AUTH payload and its check. The tasks that carry the payloads are in `ike.tasks`.
"""
