<#
.SYNOPSIS
Has collabd start with Windows, as a scheduled task. Run it in a PowerShell that was opened as administrator.

.DESCRIPTION
Copies collabd.exe to Program Files, keeps data in C:\ProgramData\collabd, opens the port in the firewall for
private and domain networks, and starts the server. Running it again upgrades: the data stays.

.PARAMETER Port
The port to listen on.

.PARAMETER User
The account that the server runs as. Without it that is LOCAL SERVICE, which may do little.

.PARAMETER Options
Further options of collabd, such as "--require-key --keys C:\ProgramData\collabd\keys.json".

.PARAMETER Remove
Stops the server and removes the task, the firewall rule and the program. The data stays.

.EXAMPLE
powershell -ExecutionPolicy Bypass -File install-service.ps1
powershell -ExecutionPolicy Bypass -File install-service.ps1 -Remove
#>
[CmdletBinding()]
param(
    [ValidateRange(1, 65535)] [int] $Port = 8765,
    [string] $User = '',
    [string] $Options = '',
    [switch] $Remove
)
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version 2

$Name = 'collabd'
$Program = Join-Path $env:ProgramFiles 'collabd'
$Data = Join-Path $env:ProgramData 'collabd'
$Exe = Join-Path $Program 'collabd.exe'

$identity = [Security.Principal.WindowsIdentity]::GetCurrent()
$isAdministrator = (New-Object Security.Principal.WindowsPrincipal $identity).IsInRole(
    [Security.Principal.WindowsBuiltInRole]::Administrator)
if (-not $isAdministrator) {
    Write-Error 'Open PowerShell with "Run as administrator", and run this again.'
}

function Remove-Server {
    if (Get-ScheduledTask -TaskName $Name -ErrorAction SilentlyContinue) {
        Stop-ScheduledTask -TaskName $Name
        Unregister-ScheduledTask -TaskName $Name -Confirm:$false
    }
    # Ending a task kills the server; what was confirmed is on disk all the same.
    Get-Process -Name $Name -ErrorAction SilentlyContinue |
        Where-Object { $_.Path -eq $Exe } |
        ForEach-Object { Stop-Process -Id $_.Id -Force; Wait-Process -Id $_.Id -Timeout 10 -ErrorAction SilentlyContinue }
    Get-NetFirewallRule -Name $Name -ErrorAction SilentlyContinue | Remove-NetFirewallRule
}

if ($Remove) {
    Remove-Server
    if (Test-Path $Program) { Remove-Item -Recurse -Force $Program }
    Write-Output "collabd is removed. The tables are still in $Data"
    exit 0
}

$source = Join-Path $PSScriptRoot 'collabd.exe'
if (-not (Test-Path $source)) {
    Write-Error "collabd.exe has to lie beside this script, in $PSScriptRoot"
}

Remove-Server
New-Item -ItemType Directory -Force $Program, $Data | Out-Null
Copy-Item -Force $source $Exe
Unblock-File $Exe

# S-1-5-19 is LOCAL SERVICE, whatever Windows' language calls it.
$account = if ($User) { $User } else { '*S-1-5-19' }
# Nobody else reads the tables and the keys: SYSTEM, the administrators, and the server.
& icacls.exe $Data /inheritance:r /grant:r '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F' "${account}:(OI)(CI)M" | Out-Null
if ($LASTEXITCODE -ne 0) { Write-Error "icacls could not give $account the directory $Data" }

$arguments = "--port $Port --data-dir `"$Data`" --log-file `"$(Join-Path $Data 'collabd.log')`" $Options".Trim()
$action = New-ScheduledTaskAction -Execute $Exe -Argument $arguments -WorkingDirectory $Data
# With Windows, and every minute: while it runs, a second one isn't started (IgnoreNew).
$triggers = @(
    (New-ScheduledTaskTrigger -AtStartup),
    (New-ScheduledTaskTrigger -Once -At (Get-Date) -RepetitionInterval (New-TimeSpan -Minutes 1))
)
$settings = New-ScheduledTaskSettingsSet -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1) `
    -ExecutionTimeLimit ([TimeSpan]::Zero) -MultipleInstances IgnoreNew `
    -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries
$principal = if ($User) {
    New-ScheduledTaskPrincipal -UserId $User -LogonType S4U -RunLevel Limited
} else {
    New-ScheduledTaskPrincipal -UserId 'S-1-5-19' -LogonType ServiceAccount -RunLevel Limited
}
Register-ScheduledTask -TaskName $Name -Action $action -Trigger $triggers -Settings $settings -Principal $principal `
    -Description 'Optical tables edited together' | Out-Null

New-NetFirewallRule -Name $Name -DisplayName "collabd (TCP $Port)" -Direction Inbound -Action Allow -Protocol TCP `
    -LocalPort $Port -Program $Exe -Profile @('Private', 'Domain') | Out-Null

Start-ScheduledTask -TaskName $Name

# It listens, or the log says why not.
$deadline = (Get-Date).AddSeconds(20)
while ((Get-Date) -lt $deadline) {
    try {
        Invoke-WebRequest -UseBasicParsing -TimeoutSec 2 "http://localhost:$Port/healthz" | Out-Null
        Write-Output "collabd runs, and starts with Windows. The page: http://localhost:$Port/"
        Write-Output "The tables and the log are in $Data"
        exit 0
    } catch {
        Start-Sleep -Milliseconds 200
    }
}
Write-Error "collabd doesn't answer at port $Port. The log is $(Join-Path $Data 'collabd.log')"
