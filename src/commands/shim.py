#!/usr/bin/env python3
# collabd-shim 1: starts collabd in the place of the editor's own server, which is kept beside this file.
# "collabd install-shim CHECKOUT --remove" puts that one back.
import os
import subprocess
import sys

COLLABD = "COLLABD"

if not os.path.isfile(COLLABD):
    why = "there is no collabd at " + COLLABD + ": install it again"
    if os.path.isfile(__file__ + ".original"):
        why += ", or put back what was here: collabd install-shim CHECKOUT --remove (or rename "
        why += os.path.basename(__file__) + ".original)"
    sys.exit(why)
command = [COLLABD, *sys.argv[1:]]
if os.name != "nt":
    os.execv(COLLABD, command)  # the editor's signals reach collabd itself

import ctypes

# This process and its child are in a job that Windows ends with this process, however that ends.
class Basic(ctypes.Structure):
    _fields_ = [("times", ctypes.c_int64 * 2), ("flags", ctypes.c_uint32), ("sizes", ctypes.c_size_t * 2),
                ("count", ctypes.c_uint32), ("affinity", ctypes.c_size_t), ("classes", ctypes.c_uint32 * 2)]

class Limits(ctypes.Structure):
    _fields_ = [("basic", Basic), ("counters", ctypes.c_uint64 * 6), ("memory", ctypes.c_size_t * 4)]

kernel = ctypes.WinDLL("kernel32")
kernel.CreateJobObjectW.restype = kernel.GetCurrentProcess.restype = ctypes.c_void_p
kernel.SetInformationJobObject.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32]
kernel.AssignProcessToJobObject.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
limits = Limits()
limits.basic.flags = 0x2000  # JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
job = kernel.CreateJobObjectW(None, None)
kernel.SetInformationJobObject(job, 9, ctypes.byref(limits), ctypes.sizeof(limits))
kernel.AssignProcessToJobObject(job, kernel.GetCurrentProcess())
sys.exit(subprocess.call(command))
