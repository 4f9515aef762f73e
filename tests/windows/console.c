/* Plays the console of a program, for tests under wine: starts it, sends it one console event, and treats it from then on
 * as Windows does.
 *
 *     console.exe EVENT PROGRAM [ARGUMENT...]      EVENT: break, close, logoff or shutdown
 *
 * The event is sent at the first byte on standard input, or at its end. The exit status is the program's.
 *
 * wine 8 turns SIGINT into Ctrl+C and knows no other event: GenerateConsoleCtrlEvent refuses Ctrl+Break, and there is no
 * window to close. But it has what Windows runs in the program's process for every one of them, kernelbase's CtrlRoutine,
 * which calls the program's handlers, so a thread is started there. What wine leaves out is what Windows does next: after
 * anything but Ctrl+C and Ctrl+Break, it ends the process as soon as the handler has returned, or after five seconds. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

enum { PATIENCE = 5000, LONGEST_STOP = 20000, HANDLED = 1 };

static DWORD event_named(const char *name)
{
    if (!strcmp(name, "break")) return CTRL_BREAK_EVENT;
    if (!strcmp(name, "close")) return CTRL_CLOSE_EVENT;
    if (!strcmp(name, "logoff")) return CTRL_LOGOFF_EVENT;
    if (!strcmp(name, "shutdown")) return CTRL_SHUTDOWN_EVENT;
    return CTRL_C_EVENT;
}

static int fail(const char *what)
{
    fprintf(stderr, "console: cannot %s: error %lu\n", what, GetLastError());
    return 101;
}

int main(int argc, char **argv)
{
    char command[8192] = "";
    STARTUPINFOA startup = { .cb = sizeof startup };
    PROCESS_INFORMATION program;
    DWORD event = argc > 2 ? event_named(argv[1]) : CTRL_C_EVENT, status = 0;
    if (event == CTRL_C_EVENT) {
        fprintf(stderr, "usage: console.exe break|close|logoff|shutdown PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        if (strlen(command) + strlen(argv[i]) + 4 > sizeof command) return fail("hold so long a command line");
        strcat(strcat(strcat(command, i > 2 ? " \"" : "\""), argv[i]), "\"");
    }
    /* Not in a process group of its own: wine lets a group's leader ignore every event, not only Ctrl+C. */
    if (!CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &program)) return fail("start it");
    getchar();

    /* System libraries are at one address in every process, so what is found in this one holds for that one. */
    void *routine = (void *)GetProcAddress(GetModuleHandleA("kernelbase.dll"), "CtrlRoutine");
    HANDLE handler = CreateRemoteThread(program.hProcess, NULL, 0, routine, (void *)(ULONG_PTR)event, 0, NULL);
    if (!handler) return fail("send the event");
    if (event != CTRL_BREAK_EVENT) {
        DWORD waited = WaitForSingleObject(handler, PATIENCE);
        /* The thread is also over when the process ends itself meanwhile; it then has the process's status. */
        GetExitCodeThread(handler, &status);
        if (waited == WAIT_TIMEOUT || status == HANDLED) {
            fprintf(stderr, "console: ended the program, as %s\n",
                    waited == WAIT_TIMEOUT ? "its time was up" : "its handler had returned");
            TerminateProcess(program.hProcess, STATUS_CONTROL_C_EXIT);
        }
    }
    if (WaitForSingleObject(program.hProcess, LONGEST_STOP) == WAIT_TIMEOUT) {
        fprintf(stderr, "console: ended the program, which did not end\n");
        TerminateProcess(program.hProcess, 102);
    }
    WaitForSingleObject(program.hProcess, INFINITE);
    GetExitCodeProcess(program.hProcess, &status);
    return (int)status;
}
