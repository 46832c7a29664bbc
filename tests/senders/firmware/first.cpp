// The firmware that the project began with: three microphones on one board, 512 samples of each, one port each, samples and nothing
// else. Arduino's write() makes 1460 + 588 bytes of each 2048.
#include <ESP_I2S.h>
#include <WiFi.h>
#include <WiFiUdp.h>

const IPAddress SERVER(127, 0, 0, 1);
const uint16_t PORTS[3] = {PORT0, PORT1, PORT2};

I2SClass microphones[3];
WiFiUDP udp;
int32_t samples[512];

void setup() {
  udp.begin(0);
  for (auto &microphone : microphones)
    microphone.begin(I2S_MODE_STD, 48000, I2S_DATA_BIT_WIDTH_32BIT, I2S_SLOT_MODE_MONO, I2S_STD_SLOT_LEFT);
}

void loop() {
  for (int mic = 0; mic < 3; mic++) {
    microphones[mic].readBytes((char *)samples, sizeof samples);
    udp.beginPacket(SERVER, PORTS[mic]);
    udp.write((const uint8_t *)samples, sizeof samples);
    udp.endPacket();
  }
}
