// A stand-in for Arduino on the host: what the sender of docs/formats.md uses, and nothing else.
#pragma once
#include <arpa/inet.h>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

struct IPAddress {
  uint8_t part[4];
  IPAddress(uint8_t a, uint8_t b, uint8_t c, uint8_t d) : part{a, b, c, d} {}
};

constexpr int WL_CONNECTED = 3;

struct WiFiClass {
  void begin(const char *, const char *) {}
  void setSleep(bool) {}
  int status() { return WL_CONNECTED; }
};
inline WiFiClass WiFi;

inline void delay(unsigned) {}

inline int64_t esp_timer_get_time() {
  using namespace std::chrono;
  return duration_cast<microseconds>(steady_clock::now().time_since_epoch()).count();
}

// The board's own main calls setup once and loop without end; this one so often as the environment says.
void setup();
void loop();
int main() {
  setup();
  for (int turns = atoi(getenv("LOOPS")); turns > 0; turns--) loop();
}
