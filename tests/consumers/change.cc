// The header in C++: names link as C, structures and constants are usable.
#include <ncf.h>

#include <iostream>

int main(int argc, char **argv)
{
    struct netcf *ncf = nullptr;
    struct ncf_change_status status;

    if (argc != 2 || ncf_init(&ncf, argv[1]) != 0)
        return 1;
    if (ncf_change_status(ncf, &status) != 0 || status.open)
        return 1;
    if (ncf_change_commit(ncf, 0) != -1 || ncf_error(ncf, nullptr, nullptr) != NCF_EINVALIDOP)
        return 1;
    std::cout << ncf_version() << "\n";
    return ncf_close(ncf);
}
