"""What a release is called, agreed between those who build one and those who serve it."""

SEARCH_RELEASE, RELEVANCE_RELEASE = "search-release", "relevance-release"  # a manifest's `kind`
NAME_DIGITS = 12  # of the content's digest: the name of a release's folder

# Environment variable of a server: address of an online store other than an SQLite file.
ONLINE_STORE = "ARCHIPELAGO_ONLINE_STORE"
