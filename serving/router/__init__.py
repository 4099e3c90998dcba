"""Executes an InferenceGraph manifest the way KServe's own router does.

``graph`` reads the manifest, ``execute`` runs a request through it and knows no HTTP, ``endpoints``
picks a replica, ``client`` talks to it. What this router cannot do as KServe would is refused when
the manifest is loaded, never guessed when a request is running.
"""
