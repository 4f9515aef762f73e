/* For tests under wine 8 only: the one function Rust's std takes from bcryptprimitives.dll, which that wine lacks. */
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length); /* the name RtlGenRandom is exported under */
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length) { return SystemFunction036(buffer, (ULONG)length); }
