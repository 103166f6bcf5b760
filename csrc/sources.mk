# The one list of the core's sources, lowest layer first: a file includes only
# headers of files above it in this list.  Read by the Makefile, build_ffi.py
# and the tests.
CORE = error.c sys.c run.c memory.c digest.c path.c scope.c entry.c listing.c \
       durable.c archive.c snapshot.c compare.c store.c guard.c restore.c replace.c \
       interface/link.c interface/model.c interface/ifupdown.c \
       interface/networkd.c interface/networkmanager.c interface/networkscripts.c \
       interface/yaml.c interface/netplan.c interface/udev.c \
       interface/engine.c \
       change.c ncf.c

# The helper has these besides, the first where its libc is a small one.
HEAP = heap.c
HELPER = boot.c networking-config.c
