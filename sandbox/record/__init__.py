"""How a trial is written down and proven: ledger, blobs, anchors, verification, and bundles that can be passed on."""
