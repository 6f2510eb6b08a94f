"""EAP methods of both ends, without EAP's own framing and without IKE (RFC 3748)."""
