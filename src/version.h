/* The version, in its one place. */
#ifndef SHEAF_VERSION_H
#define SHEAF_VERSION_H

#define SHEAF_VERSION "0.1.0"
#define SHEAF_USER_AGENT "sheaf/" SHEAF_VERSION

#endif
